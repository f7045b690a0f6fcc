//! Ctrl-C: ends the work under way, or the process where there is none.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::failure::{Failure, INTERRUPTED};

/// Ends the work under way.
type End = Box<dyn FnOnce() + Send>;

/// What Ctrl-C does.
#[derive(Clone)]
pub(crate) struct Interrupt(Arc<Mutex<Option<End>>>);

impl Interrupt {
    /// Takes over Ctrl-C. Until [`Interrupt::begin`], after [`Interrupt::end`], and when it is pressed a second time,
    /// it ends the process at once: work that does not come to its next step must not hold the user.
    ///
    /// # Errors
    /// If the system refuses a handler.
    pub(crate) fn install() -> Result<Self, Failure> {
        let interrupt = Self(Arc::default());
        let handled = interrupt.clone();
        ctrlc::set_handler(move || handled.press()).map_err(|error| Failure::Stream {
            action: "take over Ctrl-C",
            source: io::Error::other(error),
        })?;
        Ok(interrupt)
    }

    /// From now on, Ctrl-C calls `end_work`, which must not wait for anything.
    pub(crate) fn begin(&self, end_work: impl FnOnce() + Send + 'static) {
        self.set(Some(Box::new(end_work)));
    }

    /// From now on, Ctrl-C ends the process.
    pub(crate) fn end(&self) {
        self.set(None);
    }

    fn set(&self, end_work: Option<End>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = end_work;
    }

    /// Runs on a thread of its own, not in the signal handler, and so may take the lock.
    fn press(&self) {
        let end_work = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match end_work {
            Some(end_work) => end_work(),
            None => std::process::exit(INTERRUPTED.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use sm_runtime::CancelToken;

    use super::*;

    #[test]
    fn a_press_ends_only_the_work_under_way() {
        let interrupt = Interrupt(Arc::default());
        let [first, second] = [(); 2].map(|()| {
            let token = CancelToken::new();
            let cancelled = token.clone();
            interrupt.begin(move || cancelled.cancel());
            token
        });
        interrupt.press();
        assert!(!first.is_cancelled() && second.is_cancelled());
    }
}
