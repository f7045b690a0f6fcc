//! The CPU backend: one team of threads walks the plan's operations together.

pub(crate) mod arena;
pub(crate) mod barrier;
pub(crate) mod kv_pool;
pub(crate) mod split;
pub(crate) mod team;
