//! Small plans and weights for the tests of this crate.

pub(crate) mod plans;
