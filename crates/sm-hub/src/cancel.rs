//! Ending what a hub is doing, from another thread.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use ureq::Agent;

use crate::error::HubError;

/// Ends the downloads of one [`Hub`](crate::Hub), which cannot be used again. Clones end the same hub.
#[derive(Clone, Debug)]
pub struct Cancel(Arc<State>);

#[derive(Debug)]
struct State {
    is_cancelled: Mutex<bool>,
    changed: Condvar,
    agents: Mutex<Vec<Agent>>,
}

impl Cancel {
    pub(crate) fn new() -> Self {
        let agents = Mutex::default();
        Self(Arc::new(State { is_cancelled: Mutex::new(false), changed: Condvar::new(), agents }))
    }

    /// Shuts this agent's connections down, too, when it is cancelled.
    pub(crate) fn watch(&self, agent: Agent) {
        self.0.agents.lock().unwrap_or_else(PoisonError::into_inner).push(agent.clone());
        if self.check().is_err() {
            agent.shutdown();
        }
    }

    /// Ends all waiting and reading at once; what was received so far stays for the next run. Does not block.
    pub fn cancel(&self) {
        *self.0.is_cancelled.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.changed.notify_all();
        let agents = self.0.agents.lock().unwrap_or_else(PoisonError::into_inner);
        agents.iter().for_each(|agent| agent.clone().shutdown());
    }

    /// Fails once it is cancelled.
    pub(crate) fn check(&self) -> Result<(), HubError> {
        self.wait(Duration::ZERO)
    }

    /// Waits for `time`, and fails as soon as it is cancelled.
    pub(crate) fn wait(&self, time: Duration) -> Result<(), HubError> {
        let is_cancelled = self.0.is_cancelled.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.changed.wait_timeout_while(is_cancelled, time, |is_cancelled| !*is_cancelled);
        let (is_cancelled, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *is_cancelled { Err(HubError::Cancelled) } else { Ok(()) }
    }
}
