//! The operations of a plan.

use super::operation::{IdVisitor, Operation};
use super::ops::{
    Attention, Embed, GatedLinear, GatherRows, Input, Linear, MoeFfn, Norm, RopeStore, SigmoidGate,
};
use super::work::{StepWork, Work};
use super::{KvDType, MatrixId, Plan, Read, StepBatch, Write};

/// Declares [`Op`]: a line for each operation, whose struct is in `ops/`.
macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// One operation. Fused where decode speed needs it, and no further.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum Op {
            $($(#[$doc])* $name($name),)+
        }

        impl Op {
            pub(crate) fn operation(&self) -> &dyn Operation {
                match self {
                    $(Self::$name(op) => op,)+
                }
            }

            fn operation_mut(&mut self) -> &mut dyn Operation {
                match self {
                    $(Self::$name(op) => op,)+
                }
            }
        }

        $(impl From<$name> for Op {
            fn from(op: $name) -> Self {
                Self::$name(op)
            }
        })+
    };
}

operations! {
    /// Looks up the rows of tokens.
    Embed,
    /// Takes the rows that the caller supplies.
    Input,
    /// Normalises each row.
    Norm,
    /// A matrix product.
    Linear,
    /// Two matrix products, one gating the other.
    GatedLinear,
    /// Splits q, k and v, rotates q and k, and stores k and v.
    RopeStore,
    /// Causal attention over the pages.
    Attention,
    /// A mixture-of-experts feed-forward.
    MoeFfn,
    /// Gates each row by the sigmoid of a product.
    SigmoidGate,
    /// Keeps the rows with wanted outputs.
    GatherRows,
}

impl Op {
    /// The name in the plan's text form and in profiles.
    pub fn name(&self) -> &'static str {
        self.operation().name()
    }

    /// The buffers that are read, besides the old values of what is added to.
    pub fn reads(&self) -> Vec<Read> {
        self.operation().reads()
    }

    /// The buffers that are written.
    pub fn writes(&self) -> Vec<Write> {
        self.operation().writes()
    }

    /// What the operation, one of `plan`, must read and compute in a step with pages of `kv_dtype`.
    pub fn work(&self, plan: &Plan, batch: &StepBatch<'_>, kv_dtype: KvDType) -> Work {
        self.operation().work(&StepWork { plan, batch, kv_dtype })
    }

    /// The matrices that make up most of the work, by whose formats and shapes a profile tells operations apart.
    pub fn main_matrices(&self) -> Vec<MatrixId> {
        self.operation().main_matrices()
    }

    /// Shows every id to `visitor`, which may change it.
    pub(crate) fn visit_ids(&mut self, visitor: &mut dyn IdVisitor) {
        self.operation_mut().visit_ids(visitor);
    }
}
