//! A matrix product with its epilogue: bias, non-linearity, scale or soft cap, residual addition.

use std::fmt::{self, Display, Formatter};

use super::optional;
use crate::plan::check::{Check, Checker, positive};
use crate::plan::operation::{IdVisitor, Operation};
use crate::plan::work::{StepWork, Work};
use crate::plan::{Activation, BufferId, MatrixId, Plan, Read, Store, VectorId, Write};

/// `out[n] = epilogue(weight * x[n] + bias)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linear {
    /// `[rows, in_features]`.
    pub x: BufferId,
    /// `[out_features, in_features]`.
    pub weight: MatrixId,
    /// `[out_features]`.
    pub bias: Option<VectorId>,
    /// Applied to each value.
    pub epilogue: Epilogue,
    /// Replace or add.
    pub store: Store,
    /// `[rows, out_features]`.
    pub out: BufferId,
}

/// What a [`Linear`] does with its result before it is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Epilogue {
    /// Nothing.
    None,
    /// Applies a non-linearity.
    Activation(Activation),
    /// `cap * tanh(x / cap)`.
    SoftCap(f32),
    /// `scale * x`: multipliers of residual branches and logits (Granite).
    Scale(f32),
}

impl Linear {
    /// `out[n] = weight * x[n]`.
    pub fn new(x: BufferId, weight: MatrixId, out: BufferId) -> Self {
        Self { x, weight, bias: None, epilogue: Epilogue::None, store: Store::Write, out }
    }
}

impl Operation for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn reads(&self) -> Vec<Read> {
        vec![Read::product(self.x, [self.weight])]
    }

    fn writes(&self) -> Vec<Write> {
        vec![Write { buffer: self.out, store: self.store }]
    }

    fn check(&self, checker: &mut Checker<'_>) -> Check {
        let out = checker.buffer(self.out)?;
        checker.multiply(self.x, self.weight, out)?;
        if let Some(bias) = self.bias {
            checker.vector("bias", bias, out.width)?;
        }
        match self.epilogue {
            Epilogue::None => Ok(()),
            Epilogue::Activation(activation) => activation.check(),
            Epilogue::SoftCap(cap) => positive("the soft cap", cap),
            Epilogue::Scale(scale) => positive("the scale of the result", scale),
        }
    }

    fn text(&self, plan: &Plan, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {}", plan.buffer(self.x).name, plan.matrix(self.weight).name)?;
        optional(f, self.bias.map(|id| &plan.vector(id).name))?;
        write!(f, "){}", self.epilogue)
    }

    fn work(&self, step: &StepWork<'_>) -> Work {
        step.product(self.weight, step.n_rows(self.out))
    }

    fn main_matrices(&self) -> Vec<MatrixId> {
        vec![self.weight]
    }

    fn visit_ids(&mut self, visitor: &mut dyn IdVisitor) {
        let Self { x, weight, bias, epilogue: _, store: _, out } = self;
        visitor.buffer(x);
        visitor.matrix(weight);
        bias.iter_mut().for_each(|id| visitor.vector(id));
        visitor.buffer(out);
    }
}

impl Display for Epilogue {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Activation(activation) => write!(f, " {activation}"),
            Self::SoftCap(cap) => write!(f, " soft cap {cap}"),
            Self::Scale(scale) => write!(f, " scale {scale}"),
        }
    }
}
