//! The operations, a file each: the struct that a plan holds, its inputs and outputs, rules, text form and work.

mod attention;
mod embed;
mod gated_linear;
mod gather_rows;
mod input;
mod linear;
mod moe_ffn;
mod norm;
mod rope_store;
mod sigmoid_gate;

use std::fmt::{self, Formatter};

pub use attention::Attention;
pub use embed::Embed;
pub use gated_linear::GatedLinear;
pub use gather_rows::GatherRows;
pub use input::Input;
pub use linear::{Epilogue, Linear};
pub use moe_ffn::{Experts, MoeFfn};
pub use norm::{Norm, NormKind};
pub use rope_store::{NormOrder, RopeStore};
pub use sigmoid_gate::SigmoidGate;

/// Writes one more operand of a text form, if there is one.
fn optional(f: &mut Formatter<'_>, name: Option<&String>) -> fmt::Result {
    name.map_or(Ok(()), |name| write!(f, ", {name}"))
}
