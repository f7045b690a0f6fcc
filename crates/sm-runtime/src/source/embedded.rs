//! The models that are built into the program.

use crate::Error;

/// The GGUF file of the demo model.
pub(super) fn demo() -> Result<&'static [u8], Error> {
    Ok(include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/demo/demo.gguf")))
}

/// The GGUF file of its draft model.
pub(super) fn draft() -> Result<&'static [u8], Error> {
    Ok(include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/demo/draft.gguf")))
}
