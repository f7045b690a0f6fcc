//! Ending a generation from another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Ends the generation, or the loading, that it was given to, at the next opportunity: the next step boundary, the next rows
/// of a matrix. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct CancelToken {
    flag: Arc<AtomicBool>,
    /// What cancels this one too.
    parent: Option<Arc<CancelToken>>,
}

impl CancelToken {
    /// A token that nobody has cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// A token that this one cancels too, and that can be cancelled alone.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { flag: Arc::default(), parent: Some(Arc::new(self.clone())) }
    }

    /// Asks what it was given to to end. Safe to call from a signal handler's thread, any number of times.
    pub fn cancel(&self) {
        self.flag.store(true, Ordering::Relaxed);
    }

    /// Whether [`CancelToken::cancel`] was called, on this token or on one that it is a child of.
    pub fn is_cancelled(&self) -> bool {
        self.flag.load(Ordering::Relaxed) || self.parent.as_ref().is_some_and(|parent| parent.is_cancelled())
    }
}

impl From<Arc<AtomicBool>> for CancelToken {
    /// A token over a flag that something else sets, such as a signal handler.
    fn from(flag: Arc<AtomicBool>) -> Self {
        Self { flag, parent: None }
    }
}
