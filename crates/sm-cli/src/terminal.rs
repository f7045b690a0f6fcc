//! The terminal while something is written that nobody should type into.

#[cfg(unix)]
pub(crate) use unix::{NoEcho, restore};

#[cfg(not(unix))]
pub(crate) use other::{NoEcho, restore};

#[cfg(unix)]
mod unix {
    use std::io;
    use std::sync::{Mutex, PoisonError};

    use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

    /// The settings before the echo was turned off. They belong to the terminal, of which a process has one, and a signal may end the
    /// process at any time.
    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

    /// While it lives, what is typed is kept for the next line, but not shown.
    #[derive(Debug)]
    pub(crate) struct NoEcho(());

    impl NoEcho {
        /// Turns the echo off, if stdin is a terminal.
        pub(crate) fn begin() -> Option<Self> {
            let before = tcgetattr(io::stdin()).ok()?;
            let mut silent = before.clone();
            silent.local_flags.remove(LocalFlags::ECHO | LocalFlags::ECHONL);
            *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
            tcsetattr(io::stdin(), SetArg::TCSANOW, &silent).ok()?;
            Some(Self(()))
        }
    }

    impl Drop for NoEcho {
        fn drop(&mut self) {
            restore();
        }
    }

    /// Turns the echo on again, if it was turned off.
    pub(crate) fn restore() {
        if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A terminal that is gone needs nothing.
            let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &before);
        }
    }
}

#[cfg(not(unix))]
mod other {
    /// The line editor of other systems reads keys one by one, and nothing echoes in between.
    #[derive(Debug)]
    pub(crate) struct NoEcho(());

    impl NoEcho {
        pub(crate) fn begin() -> Option<Self> {
            None
        }
    }

    pub(crate) fn restore() {}
}
