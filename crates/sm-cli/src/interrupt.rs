//! Ctrl-C: cancels the work under way, or ends the process where there is none.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use sm_runtime::CancelToken;

use crate::failure::{Failure, INTERRUPTED};

/// What Ctrl-C does.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(Arc<Mutex<Option<CancelToken>>>);

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

    /// From now on, Ctrl-C cancels the returned token.
    pub(crate) fn begin(&self) -> CancelToken {
        let token = CancelToken::new();
        self.set(Some(token.clone()));
        token
    }

    /// From now on, Ctrl-C ends the process.
    pub(crate) fn end(&self) {
        self.set(None);
    }

    fn set(&self, token: Option<CancelToken>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }

    /// Runs on a thread of its own, not in the signal handler, and so may take the lock.
    fn press(&self) {
        let current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            Some(token) if !token.is_cancelled() => token.cancel(),
            _ => std::process::exit(INTERRUPTED.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_press_cancels_only_the_work_under_way() {
        let interrupt = Interrupt(Arc::default());
        let first = interrupt.begin();
        interrupt.press();
        assert!(first.is_cancelled());
        let second = interrupt.begin();
        assert!(!second.is_cancelled());
        interrupt.press();
        assert!(second.is_cancelled());
    }
}
