//! The kernels behind the operations of a plan.

pub(crate) mod encode;
pub(crate) mod linear;
pub(crate) mod math;
pub(crate) mod product;
