//! Data types, ids, matrix views and quantization block formats: the vocabulary that every other
//! crate of SmallMind speaks.

mod dtype;
mod ids;
mod matrix;

pub use dtype::{DType, UnknownDType};
pub use ids::{PageId, TokenId};
pub use matrix::{MatRef, ShapeError};
