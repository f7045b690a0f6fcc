//! Memory for rows of logits that changes hands between an executor and its caller.

use std::any::Any;
use std::fmt;

/// Memory that an executor wrote logits into. It gets its own type back by upcasting to [`Any`].
pub trait RowMemory: Any + fmt::Debug + Send + Sync {
    /// The values.
    fn values(&self) -> &[f32];

    /// The values.
    fn values_mut(&mut self) -> &mut [f32];
}

impl RowMemory for Vec<f32> {
    fn values(&self) -> &[f32] {
        self
    }

    fn values_mut(&mut self) -> &mut [f32] {
        self
    }
}
