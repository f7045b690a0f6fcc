//! Ctrl-C: cancels the work in progress, or ends the process if there is none.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::failure::{Failure, INTERRUPTED};
use crate::terminal;

/// Cancels the work in progress.
type End = Box<dyn FnOnce() + Send>;

/// The Ctrl-C handler.
#[derive(Clone)]
pub(crate) struct Interrupt(Arc<Mutex<Option<End>>>);

impl Interrupt {
    /// Installs the handler. Ctrl-C ends the process before [`Interrupt::begin`] and after [`Interrupt::end`]; a second
    /// press always does, in case the work does not react.
    ///
    /// # Errors
    /// If the handler cannot be installed.
    pub(crate) fn install() -> Result<Self, Failure> {
        let interrupt = Self(Arc::default());
        let handled = interrupt.clone();
        ctrlc::set_handler(move || handled.press())
            .map_err(|error| Failure::Stream { action: "handle Ctrl-C", source: io::Error::other(error) })?;
        Ok(interrupt)
    }

    /// Makes Ctrl-C call `end_work`, which must not block.
    pub(crate) fn begin(&self, end_work: impl FnOnce() + Send + 'static) {
        self.set(Some(Box::new(end_work)));
    }

    /// Makes Ctrl-C end the process.
    pub(crate) fn end(&self) {
        self.set(None);
    }

    fn set(&self, end_work: Option<End>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = end_work;
    }

    /// Runs on a separate thread, not in the signal handler, so it may take the lock.
    fn press(&self) {
        let end_work = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match end_work {
            Some(end_work) => end_work(),
            None => {
                terminal::restore();
                std::process::exit(INTERRUPTED.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use sm_runtime::CancelToken;

    use super::*;

    #[test]
    fn a_press_cancels_only_the_work_in_progress() {
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
