//! The built-in models.

use crate::Error;

/// The GGUF file of the demo model.
pub(super) fn demo() -> Result<&'static [u8], Error> {
    Ok(sm_demo_model::DEMO)
}

/// The GGUF file of its draft model.
pub(super) fn draft() -> Result<&'static [u8], Error> {
    Ok(sm_demo_model::DRAFT)
}
