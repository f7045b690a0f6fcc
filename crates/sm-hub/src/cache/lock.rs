//! Locks between processes, the same as Python's: an exclusive lock on a file beside the cache.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::cancel::Cancel;
use crate::error::HubError;

/// How often somebody else's lock is looked at.
const PAUSE: Duration = Duration::from_millis(100);

/// A lock that is held until it is dropped, also if the process dies.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "the open file holds the lock")] Option<File>);

impl Lock {
    /// Waits for the lock, and calls `waiting` meanwhile.
    pub(crate) fn acquire(path: &Path, cancel: &Cancel, waiting: &mut dyn FnMut()) -> Result<Self, HubError> {
        let opened = OpenOptions::new().create(true).truncate(false).write(true).open(path);
        let file = opened.map_err(HubError::io("open", path))?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(Some(file))),
                Err(TryLockError::WouldBlock) => {
                    waiting();
                    cancel.wait(PAUSE)?;
                }
                // Without locks two processes may fetch the same file, which wastes time but breaks nothing: they write the
                // same bytes to the same places.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                    return Ok(Self(None));
                }
                Err(TryLockError::Error(error)) => return Err(HubError::io("lock", path)(error)),
            }
        }
    }
}
