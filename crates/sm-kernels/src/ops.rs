//! The kernels behind the operations of a plan.

pub(crate) mod math;
