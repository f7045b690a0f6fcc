//! Normalises each row.

use std::fmt::{self, Display, Formatter};

use super::optional;
use crate::plan::check::{Check, Checker, ensure, rows_are, same};
use crate::plan::operation::{IdVisitor, Operation};
use crate::plan::{BufferId, Plan, Read, Store, VectorId, Write};

/// Normalises each row, see [`NormKind`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    /// `[rows, width]`.
    pub x: BufferId,
    /// Which normalisation.
    pub kind: NormKind,
    /// `[width]`.
    pub weight: VectorId,
    /// `[width]`.
    pub bias: Option<VectorId>,
    /// Added to the mean square or the variance.
    pub eps: f32,
    /// Replace or add.
    pub store: Store,
    /// `[rows, width]`.
    pub out: BufferId,
}

/// Which normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// `x / sqrt(mean(x^2) + eps) * weight`.
    Rms,
    /// `(x - mean(x)) / sqrt(var(x) + eps) * weight + bias`.
    Layer,
}

impl Operation for Norm {
    fn name(&self) -> &'static str {
        "norm"
    }

    fn reads(&self) -> Vec<Read> {
        vec![Read::values(self.x)]
    }

    fn writes(&self) -> Vec<Write> {
        vec![Write { buffer: self.out, store: self.store }]
    }

    fn check(&self, checker: &mut Checker<'_>) -> Check {
        let x = checker.read(self.x)?;
        let out = checker.buffer(self.out)?;
        checker.vector("weight", self.weight, x.width)?;
        if let Some(bias) = self.bias {
            ensure(self.kind == NormKind::Layer, || "an RMS norm has no bias".to_owned())?;
            checker.vector("bias", bias, x.width)?;
        }
        ensure(self.eps.is_finite() && 0.0 <= self.eps, || format!("eps is {}", self.eps))?;
        same("the width of the output", out.width, x.width)?;
        rows_are(out, x.rows)
    }

    fn text(&self, plan: &Plan, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, " {}({}, {}", self.kind, plan.buffer(self.x).name, plan.vector(self.weight).name)?;
        optional(f, self.bias.map(|id| &plan.vector(id).name))?;
        write!(f, ") eps {:?}", self.eps)
    }

    fn visit_ids(&mut self, visitor: &mut dyn IdVisitor) {
        let Self { x, kind: _, weight, bias, eps: _, store: _, out } = self;
        visitor.buffer(x);
        visitor.vector(weight);
        bias.iter_mut().for_each(|id| visitor.vector(id));
        visitor.buffer(out);
    }
}

impl Display for NormKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rms => "rms",
            Self::Layer => "layer",
        })
    }
}
