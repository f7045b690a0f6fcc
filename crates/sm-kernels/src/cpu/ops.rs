//! The kernels behind the operations of a plan, one file each.

pub(crate) mod attention;
pub(crate) mod block_maxima;
pub(crate) mod embed;
pub(crate) mod gather_rows;
pub(crate) mod linear;
pub(crate) mod math;
pub(crate) mod moe_ffn;
pub(crate) mod norm;
pub(crate) mod product;
pub(crate) mod reduce;
pub(crate) mod rope_store;
pub(crate) mod sigmoid_gate;

#[cfg(test)]
mod tests;
