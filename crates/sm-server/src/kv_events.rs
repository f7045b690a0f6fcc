//! KV-cache events for routers: what the prefix cache holds, as vLLM publishes it.
//!
//! A router that knows which pages a replica has can send a request where its prefix is. The format is that of vLLM 0.33
//! (`vllm/distributed/kv_events.py`): a ZeroMQ `PUB` socket sends messages of three frames, the topic, a sequence number (8 bytes,
//! big endian) and a MessagePack payload:
//!
//! ```text
//! [timestamp, [{"type": "BlockStored", "block_hashes": [...], "parent_block_hash": ..., "token_ids": [...], "block_size": 16, ...},
//!              {"type": "BlockRemoved", "block_hashes": [...], "medium": "GPU"},
//!              {"type": "AllBlocksCleared"}]]
//! ```
//!
//! A block is stored after its predecessor. Hashes are the lower 64 bits of our page keys: opaque to a router, and the same in all
//! replicas with the same hash key. When a model is loaded, `AllBlocksCleared` comes first. A subscriber that missed messages asks a
//! second socket (`ROUTER`) for those from a sequence number on; the answer ends with the sequence number -1.

mod payload;
mod replay;

use std::time::{SystemTime, UNIX_EPOCH};

use sm_runtime::{CacheEvent, CacheObserver};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use zeromq::{PubSocket, Socket, SocketSend, ZmqMessage};

use crate::ServerError;
use payload::{BlockEvent, payload};
use replay::{History, Replay};

/// Events in a message at most.
const MAX_EVENTS: usize = 1024;

/// Where events are published.
///
/// ```
/// use sm_server::KvEventsConfig;
///
/// let config = KvEventsConfig::new("tcp://*:5557").replay("tcp://*:5558").topic("kv@pod-1@demo");
/// assert_eq!(config.buffer_steps, 10_000);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KvEventsConfig {
    /// The socket's address. With `*` or `::` for the host it is listened on, else connected to, as in vLLM.
    pub endpoint: String,
    /// The address to listen on for subscribers that missed messages; none by default.
    pub replay_endpoint: Option<String>,
    /// The first frame of each message; empty by default.
    pub topic: String,
    /// Messages kept for subscribers that missed them. 10,000 by default.
    pub buffer_steps: usize,
}

impl KvEventsConfig {
    /// Events at an address.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self { endpoint: endpoint.into(), replay_endpoint: None, topic: String::new(), buffer_steps: 10_000 }
    }

    /// Sets [`KvEventsConfig::replay_endpoint`].
    #[must_use]
    pub fn replay(self, endpoint: impl Into<String>) -> Self {
        Self { replay_endpoint: Some(endpoint.into()), ..self }
    }

    /// Sets [`KvEventsConfig::topic`](field@KvEventsConfig::topic).
    #[must_use]
    pub fn topic(self, topic: impl Into<String>) -> Self {
        Self { topic: topic.into(), ..self }
    }
}

/// Publishes the events of a model's engines.
///
/// [`KvEvents::observer`] goes to [`ModelSpec::cache_observer`](sm_runtime::ModelSpec::cache_observer), and
/// [`KvEvents::publish`] begins to send what the observers report.
#[derive(Debug)]
pub struct KvEvents {
    config: KvEventsConfig,
    sender: UnboundedSender<BlockEvent>,
    events: UnboundedReceiver<BlockEvent>,
}

/// What the engine's thread reports. It must never wait, so the channel has no bound; its receiver only encodes and sends.
#[derive(Debug)]
struct Reporter(UnboundedSender<BlockEvent>);

impl CacheObserver for Reporter {
    fn on_event(&mut self, event: &CacheEvent<'_>) {
        let event = match event {
            CacheEvent::Stored(page) => BlockEvent::stored(page),
            CacheEvent::Removed { key } => BlockEvent::removed(*key),
            _ => return,
        };
        // Nobody receives once the server has ended.
        let _ = self.0.send(event);
    }
}

impl KvEvents {
    /// Events that are published later.
    pub fn new(config: KvEventsConfig) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        Self { config, sender, events }
    }

    /// Makes an observer for each engine.
    pub fn observer(&self) -> impl Fn() -> Box<dyn CacheObserver> + Send + Sync + 'static {
        let sender = self.sender.clone();
        move || {
            let _ = sender.send(BlockEvent::AllBlocksCleared);
            Box::new(Reporter(sender.clone()))
        }
    }

    /// Opens the sockets and sends events for as long as the runtime of the caller lives. Returns the addresses that are
    /// listened on: of the events, and of the replay.
    ///
    /// # Errors
    /// If an address is invalid or in use.
    pub async fn publish(self) -> Result<Vec<String>, ServerError> {
        let Self { config, events, .. } = self;
        let mut addresses = Vec::new();
        let mut socket = PubSocket::new();
        let failed = |address: &str| {
            let address = address.to_owned();
            move |error: zeromq::ZmqError| ServerError::Bind { address, source: std::io::Error::other(error) }
        };
        let endpoint = config.endpoint.replace('*', "0.0.0.0");
        if endpoint == config.endpoint && !endpoint.contains("::") {
            socket.connect(&endpoint).await.map_err(failed(&endpoint))?;
        } else {
            addresses.push(socket.bind(&endpoint).await.map_err(failed(&endpoint))?.to_string());
        }
        let history = History::new(config.buffer_steps);
        if let Some(endpoint) = &config.replay_endpoint {
            let endpoint = endpoint.replace('*', "0.0.0.0");
            let (replay, address) =
                Replay::bind(&endpoint, history.clone()).await.map_err(failed(&endpoint))?;
            addresses.push(address);
            tokio::spawn(replay.run());
        }
        tokio::spawn(send(socket, config.topic, events, history));
        Ok(addresses)
    }
}

async fn send(
    mut socket: PubSocket,
    topic: String,
    mut events: UnboundedReceiver<BlockEvent>,
    history: History,
) {
    let mut batch = Vec::new();
    while events.recv_many(&mut batch, MAX_EVENTS).await > 0 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
        let payload = payload(now, batch.drain(..));
        let sequence = history.push(payload.clone());
        let mut message = ZmqMessage::from(topic.as_bytes().to_vec());
        message.push_back(sequence.to_be_bytes().to_vec().into());
        message.push_back(payload);
        // A subscriber that is gone misses it; the others do not.
        if let Err(error) = socket.send(message).await {
            tracing::warn!(%error, sequence, "KV events were not sent to all subscribers");
        }
    }
}
