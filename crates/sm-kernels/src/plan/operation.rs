//! What every operation of a plan says about itself, each in its file under `ops/`.
//!
//! Backends match on [`Op`](super::Op) to run operations. Everything else that has to know them, the rules, the text form,
//! the buffers' lifetimes, profiles, the cutting of plans, asks them through this trait.

use std::fmt::{self, Formatter};

use super::check::{Check, Checker};
use super::work::{StepWork, Work};
use super::{BufferId, KvId, MatrixId, Plan, RopeId, VectorId};

/// An operation of a plan.
pub(crate) trait Operation {
    /// The name in the plan's text form and in profiles.
    fn name(&self) -> &'static str;

    /// The buffers that are read, besides the old values of what is added to.
    fn reads(&self) -> Vec<Read>;

    /// The buffers that are written.
    fn writes(&self) -> Vec<Write>;

    /// Checks the rules of the operation, but for those that [`Plan::validate`] checks for all: its outputs exist, are
    /// not among its inputs, and were written before if they are added to.
    ///
    /// # Errors
    /// The first rule that is broken.
    fn check(&self, checker: &mut Checker<'_>) -> Check;

    /// Writes what follows the name in the text form: operands in parentheses, then parameters.
    ///
    /// # Errors
    /// If the formatter fails.
    fn text(&self, plan: &Plan, f: &mut Formatter<'_>) -> fmt::Result;

    /// What has to be read and computed in a step. Nothing for what touches activations alone.
    fn work(&self, _step: &StepWork<'_>) -> Work {
        Work::default()
    }

    /// The matrices that make up most of the work, by whose formats and shapes a profile tells operations apart.
    fn main_matrices(&self) -> Vec<MatrixId> {
        Vec::new()
    }

    /// Shows every id to `visitor`, which may change it.
    fn visit_ids(&mut self, visitor: &mut dyn IdVisitor);
}

/// How an operation reads a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The buffer.
    pub buffer: BufferId,
    /// What its rows are for. Backends that multiply in other number formats find here which ones a buffer needs.
    pub usage: Usage,
}

/// What the rows of a buffer are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Their values.
    Values,
    /// Each row is multiplied with these matrices, and nothing else.
    Product(Vec<MatrixId>),
}

/// How an operation writes a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// The buffer.
    pub buffer: BufferId,
    /// What happens to its old values.
    pub store: Store,
}

/// What happens to the values that an output buffer held before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// They are replaced.
    Write,
    /// The result is added to them: a residual connection.
    Add,
}

impl Read {
    /// A buffer whose values are read.
    pub(crate) fn values(buffer: BufferId) -> Self {
        Self { buffer, usage: Usage::Values }
    }

    /// A buffer whose rows are multiplied with some matrices.
    pub(crate) fn product(buffer: BufferId, matrices: impl Into<Vec<MatrixId>>) -> Self {
        Self { buffer, usage: Usage::Product(matrices.into()) }
    }
}

impl Write {
    /// A buffer whose old values are replaced.
    pub(crate) fn new(buffer: BufferId) -> Self {
        Self { buffer, store: Store::Write }
    }
}

/// Sees the ids of an operation, and may change them.
pub(crate) trait IdVisitor {
    /// A buffer.
    fn buffer(&mut self, id: &mut BufferId);
    /// A matrix.
    fn matrix(&mut self, id: &mut MatrixId);
    /// A vector.
    fn vector(&mut self, id: &mut VectorId);
    /// A rotary embedding.
    fn rope(&mut self, id: &mut RopeId);
    /// A layer's keys and values.
    fn kv(&mut self, id: &mut KvId);
}
