//! Stands in for the built-in models in a build without them.

use crate::{Error, LoadError};

/// Refuses: the file is not in this build.
pub(super) fn demo() -> Result<&'static [u8], Error> {
    Err(LoadError::NoDemoModel.into())
}

/// Refuses: the file is not in this build.
pub(super) fn draft() -> Result<&'static [u8], Error> {
    Err(LoadError::NoDemoModel.into())
}
