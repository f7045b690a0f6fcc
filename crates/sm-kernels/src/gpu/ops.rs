//! The operations: each makes the dispatches of its kernel, whose text lies beside it.

pub(crate) mod attention;
mod embed;
mod gather_rows;
mod input;
mod linear;
pub(crate) mod moe_ffn;
mod norm;
mod rope_store;
mod sigmoid_gate;

use super::binder::{Binder, Phase};
use crate::plan::{Op, PrepareError, Store};

/// The dispatches of an operation.
///
/// # Errors
/// If it is not supported, or the driver refuses a kernel.
pub(crate) fn bind(binder: &Binder<'_>, op: &Op) -> Result<Vec<Box<dyn Phase>>, PrepareError> {
    match op {
        Op::Embed(op) => embed::bind(binder, op),
        Op::Input(_) => Ok(input::bind()),
        Op::Norm(op) => norm::bind(binder, op),
        Op::Linear(op) => linear::bind(binder, op),
        Op::GatedLinear(op) => linear::bind_gated(binder, op),
        Op::RopeStore(op) => rope_store::bind(binder, op),
        Op::Attention(op) => attention::bind(binder, op),
        Op::SigmoidGate(op) => sigmoid_gate::bind(binder, op),
        Op::GatherRows(op) => gather_rows::bind(binder, op),
        Op::MoeFfn(op) => moe_ffn::bind(binder, op),
    }
}

#[cfg(test)]
mod tests;

/// The names of [`store_number`]s.
const STORE_NAMES: [&str; 3] = ["WRITE", "ADD", "MULTIPLY"];

/// How kernels know what happens to old values.
const fn store_number(store: Store) -> usize {
    match store {
        Store::Write => 0,
        Store::Add => 1,
    }
}
