//! Activations, in the forms that products read.
//!
//! ```text
//! weights            activations              file
//! F32, F16           f32                      (as they are)
//! BF16               pairs of bfloat16        bf16.rs
//! quantized          int8 blocks of 32        int8.rs
//! ```
//!
//! A buffer keeps one or more forms of the same values. [`InputRows`] are the rows a product reads,
//! [`OutputColumns`] the columns a worker writes, and [`RowWriter`] writes whole rows.

pub(crate) mod bf16;
mod input;
pub(crate) mod int8;
mod output;

pub(crate) use input::InputRows;
pub(crate) use output::{OutputColumns, RowWriter, add_assign};
