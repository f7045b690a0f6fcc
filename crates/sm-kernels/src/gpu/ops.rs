//! The operations: each makes the dispatches of its kernel, whose text lies beside it.

pub(crate) mod attention;
mod embed;
pub(crate) mod encode;
mod gated;
mod gather_rows;
mod input;
pub(crate) mod linear;
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
    let mut phases = match op {
        // These encode what they write.
        Op::Norm(op) => return norm::bind(binder, op),
        Op::GatedLinear(op) => return gated::bind(binder, op),
        Op::Attention(op) => return attention::bind(binder, op),
        Op::Embed(op) => embed::bind(binder, op),
        Op::Input(_) => Ok(input::bind()),
        Op::Linear(op) => linear::bind(binder, op),
        Op::RopeStore(op) => rope_store::bind(binder, op),
        Op::SigmoidGate(op) => sigmoid_gate::bind(binder, op),
        Op::GatherRows(op) => gather_rows::bind(binder, op),
        Op::MoeFfn(op) => moe_ffn::bind(binder, op),
    }?;
    for write in op.writes() {
        phases.extend(encode::bind(binder, write.buffer)?);
    }
    Ok(phases)
}

#[cfg(test)]
mod tests;

/// The names of [`store_number`]s.
const STORE_NAMES: [&str; 2] = ["WRITE", "ADD"];

/// How kernels know what happens to old values.
const fn store_number(store: Store) -> usize {
    match store {
        Store::Write => 0,
        Store::Add => 1,
    }
}
