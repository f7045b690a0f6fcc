//! The endpoints that SmallMind's original documents describe, one file each.

pub(crate) mod coding;
pub(crate) mod generate;
pub(crate) mod math;
pub(crate) mod model_info;
pub(crate) mod respond;
mod solve;
pub(crate) mod stats;
mod stream;
