//! `--kv-events`: tells routers what the KV cache holds. Needs the feature `kv-events`; without it, the options say so.

use sm_runtime::ModelSpec;

use crate::console::Console;
use crate::failure::Failure;

/// Where KV-cache events are published.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "KV-cache events")]
pub(crate) struct KvEventsArgs {
    /// Publish what the KV cache of the first model holds, as vLLM does, at this ZeroMQ address: tcp://*:5557 listens,
    /// tcp://HOST:5557 connects
    #[arg(long, value_name = "ADDRESS")]
    kv_events: Option<String>,
    /// Send events that a subscriber missed again, at this address
    #[arg(long, value_name = "ADDRESS", requires = "kv_events")]
    kv_events_replay: Option<String>,
    /// Topic of the events, as in kv@POD@MODEL
    #[arg(long, value_name = "TOPIC", requires = "kv_events")]
    kv_events_topic: Option<String>,
}

/// Events to be published.
#[derive(Debug)]
#[cfg(feature = "kv-events")]
pub(super) struct Events(sm_server::KvEvents);

#[cfg(feature = "kv-events")]
impl KvEventsArgs {
    /// The events, if they are asked for.
    pub(super) fn events(&self) -> Result<Option<Events>, Failure> {
        Ok(self.kv_events.as_ref().map(|endpoint| {
            let mut config = sm_server::KvEventsConfig::new(endpoint);
            config.replay_endpoint.clone_from(&self.kv_events_replay);
            Events(sm_server::KvEvents::new(config.topic(self.kv_events_topic.clone().unwrap_or_default())))
        }))
    }
}

#[cfg(feature = "kv-events")]
impl Events {
    /// Watches the caches of a model's engines.
    pub(super) fn observe(&self, spec: ModelSpec) -> ModelSpec {
        spec.cache_observer(self.0.observer())
    }

    /// Begins to send, and says where.
    ///
    /// # Errors
    /// If an address cannot be used.
    pub(super) async fn publish(self, console: &Console) -> Result<(), Failure> {
        let addresses = self.0.publish().await?;
        console.note(format_args!("KV-cache events on {}", addresses.join(", ")));
        Ok(())
    }
}

/// There are none without the feature.
#[derive(Debug)]
#[cfg(not(feature = "kv-events"))]
pub(super) enum Events {}

#[cfg(not(feature = "kv-events"))]
impl KvEventsArgs {
    /// Nothing, unless events are asked for.
    ///
    /// # Errors
    /// If they are: this program cannot send them.
    pub(super) fn events(&self) -> Result<Option<Events>, Failure> {
        match &self.kv_events {
            None => Ok(None),
            Some(_) => Err(Failure::Option {
                flag: "--kv-events",
                message: "this program was built without them; build it with --features kv-events".to_owned(),
            }),
        }
    }
}

#[cfg(not(feature = "kv-events"))]
impl Events {
    pub(super) fn observe(&self, _spec: ModelSpec) -> ModelSpec {
        match *self {}
    }

    #[expect(clippy::unused_async, reason = "as with the feature")]
    pub(super) async fn publish(self, _console: &Console) -> Result<(), Failure> {
        match self {}
    }
}
