//! Rows that the caller brings: the executor sends them with the step's tables, before anything is dispatched.

use crate::gpu::binder::Phase;

pub(super) fn bind() -> Vec<Box<dyn Phase>> {
    Vec::new()
}
