//! The CPU backend: one team of threads walks the plan's operations together.

pub(crate) mod barrier;
pub(crate) mod pack;
pub(crate) mod split;
pub(crate) mod team;
