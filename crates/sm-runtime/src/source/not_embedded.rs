//! Replaces the built-in models in builds without them.

use crate::{Error, LoadError};

/// Always fails: the file is not in this build.
pub(super) fn demo() -> Result<&'static [u8], Error> {
    Err(LoadError::NoDemoModel.into())
}

/// Always fails: the file is not in this build.
pub(super) fn draft() -> Result<&'static [u8], Error> {
    Err(LoadError::NoDemoModel.into())
}
