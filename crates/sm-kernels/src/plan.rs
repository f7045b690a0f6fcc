//! The contract between models, backends and the runtime.

mod activation;
mod backend;
mod batch;
mod builder;
mod cache;
mod check;
mod display;
mod executor;
mod ids;
#[cfg(any(feature = "cpu", feature = "gpu"))]
mod kinds;
mod kv_dtype;
#[cfg(feature = "cpu")]
pub(crate) mod lifetime;
mod op;
mod operation;
mod ops;
mod output;
mod profile;
mod rope;
mod rules;
mod source;
mod split;
mod split_backend;
mod split_executor;
mod validate;
mod work;

pub use activation::{Activation, Xielu};
pub use backend::{Backend, MemoryNeeds, PrepareError, Progress, Weights};
pub use batch::{KeptState, OutputRow, PAGE_LEN, Span, StateSpan, StepBatch, Wanted};
pub use builder::PlanBuilder;
pub use cache::{CacheLayout, PageGroup, StateLayout};
pub use executor::{ExecError, Executor, ExecutorInfo, Limits};
pub use ids::{BufferId, KvId, MatrixId, RopeId, StateId, VectorId};
#[cfg(any(feature = "cpu", feature = "gpu"))]
pub(crate) use kinds::OpProfile;
pub use kv_dtype::KvDType;
pub use op::Op;
#[cfg(feature = "gpu")]
pub(crate) use operation::IdVisitor;
pub use operation::{Read, Store, Usage, Write};
pub use ops::{
    Attention, Embed, Epilogue, Experts, GatedLinear, GatherRows, Input, Linear, MoeFfn, Norm, NormKind,
    NormOrder, RopeStore, SigmoidGate,
};
#[cfg(feature = "cpu")]
pub(crate) use output::select;
pub use output::{RowMemory, StepOutput};
pub use profile::{Profile, ProfileRow, Speed, Traffic};
pub use rope::{ExtendedRope, QueryScale, RopePairs, RopeRange, RopeTable};
pub use rules::StepRules;
pub use source::{PackedBytes, StoredBytes, WeightError, WeightSource};
pub use split::SplitError;
pub use split_backend::SplitBackend;
pub use split_executor::SplitExecutor;
pub use work::Work;

use sm_tensor::DType;

/// The only two extents that change from step to step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rows {
    /// One row per token of the step.
    Tokens,
    /// One row per token with a wanted output.
    Outputs,
}

/// An activation buffer: `[rows, width]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferDecl {
    /// The name in the plan's text form.
    pub name: String,
    /// Which extent gives the number of rows.
    pub rows: Rows,
    /// Values per row.
    pub width: usize,
}

/// Rows of a tensor of the weight source, part of a matrix of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatrixPart {
    /// The tensor's name in the [`WeightSource`].
    pub tensor: String,
    /// How its values are stored there. Nothing in a plan depends on it but how many columns are whole blocks.
    pub dtype: DType,
    /// Rows of the tensor, from the first.
    pub rows: usize,
}

/// A weight matrix `[rows, cols]`, `[out_features, in_features]`: its parts stacked, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatrixDecl {
    /// The name in the plan's text form.
    pub name: String,
    /// Values per row, in every part.
    pub cols: usize,
    /// The stacked parts: one, or q, k and v, or one per expert.
    pub parts: Vec<MatrixPart>,
}

impl MatrixDecl {
    /// Rows of all parts together.
    pub fn rows(&self) -> usize {
        self.parts.iter().map(|part| part.rows).sum()
    }

    /// Bytes of all parts as a source stores them.
    pub fn file_bytes(&self) -> u64 {
        let part_bytes =
            self.parts.iter().map(|part| part.dtype.row_bytes(self.cols).unwrap_or(0) * part.rows);
        part_bytes.map(|n_bytes| n_bytes as u64).sum()
    }
}

/// A weight vector, kept as `f32`: a norm's weight, a bias. Its parts are joined in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VectorDecl {
    /// The name in the plan's text form.
    pub name: String,
    /// Number of values of all parts together.
    pub len: usize,
    /// Names of the joined tensors in the [`WeightSource`].
    pub parts: Vec<String>,
}

/// A model, as the flat list of operations that one step runs.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Activation buffers, named by [`BufferId`].
    pub buffers: Vec<BufferDecl>,
    /// Weight matrices, named by [`MatrixId`].
    pub matrices: Vec<MatrixDecl>,
    /// Weight vectors, named by [`VectorId`].
    pub vectors: Vec<VectorDecl>,
    /// Rotary embeddings, named by [`RopeId`].
    pub ropes: Vec<RopeTable>,
    /// The operations, in order.
    pub ops: Vec<Op>,
    /// For each layer, the op that begins it, ascending: where the plan can be cut in two.
    pub layer_starts: Vec<usize>,
    /// What a sequence leaves behind.
    pub cache: CacheLayout,
    /// The buffer that holds the hidden state behind the final norm after the last op: rows are outputs.
    pub hidden: Option<BufferId>,
    /// The buffer that holds the logits after the last op: rows are outputs, width is `vocab_size`.
    pub logits: Option<BufferId>,
    /// Positions that the plan was built for; a step must not go beyond.
    pub context_len: usize,
}

impl Plan {
    /// Number of tokens in the vocabulary; 0 for a plan without logits.
    pub fn vocab_size(&self) -> usize {
        self.logits.map_or(0, |logits| self.buffer(logits).width)
    }

    /// Width of the hidden state; 0 for a plan that does not name it.
    pub fn hidden_size(&self) -> usize {
        self.hidden.map_or(0, |hidden| self.buffer(hidden).width)
    }

    /// Positions beyond which a sequence is turned by frequencies of its own; `None` if all sequences are turned alike.
    pub fn rope_extended_beyond(&self) -> Option<usize> {
        self.ropes.iter().find_map(|rope| rope.extended.as_ref()).map(|extended| extended.beyond)
    }

    /// The declaration of a buffer.
    pub fn buffer(&self, id: BufferId) -> &BufferDecl {
        &self.buffers[id.index()]
    }

    /// The declaration of a matrix.
    pub fn matrix(&self, id: MatrixId) -> &MatrixDecl {
        &self.matrices[id.index()]
    }

    /// The declaration of a vector.
    pub fn vector(&self, id: VectorId) -> &VectorDecl {
        &self.vectors[id.index()]
    }

    /// A rotary embedding.
    pub fn rope(&self, id: RopeId) -> &RopeTable {
        &self.ropes[id.index()]
    }
}
