//! Which forms of a buffer's rows are needed: `f32` values, int8 blocks, or both.
//!
//! A plan says mathematics; in which number format a product reads its rows is this backend's affair:
//!
//! ```text
//! reader                              form
//! values: norms, attention, results   f32
//! product with F32, F16               f32
//! product with BF16                   f32, rounded by a phase before the product
//! product with quantized weights      int8
//! ```
//!
//! Rows are encoded once, where they are written: the producer has them in registers, and several readers share the
//! result. Where the producer cannot encode, because it adds to a residual or writes heads one by one, the reader does so
//! in a phase of its own. Forms therefore belong to one op's write, not to the buffer: the same buffer may be int8 in one
//! layer and `f32` in the next.

use std::ops::{BitOr, BitOrAssign};

use sm_tensor::DType;

use crate::plan::{BufferId, MatrixId, Op, Plan, Store, Usage};

/// Forms of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Forms {
    /// `f32` values.
    pub(crate) f32: bool,
    /// Int8 blocks.
    pub(crate) int8: bool,
}

impl Forms {
    /// `f32` values alone.
    pub(crate) const F32: Self = Self { f32: true, int8: false };

    /// What products with some matrices read.
    pub(crate) fn of_factors(plan: &Plan, matrices: &[MatrixId]) -> Self {
        let is_int8 = |dtype: DType| dtype.is_quantized();
        let parts = || matrices.iter().flat_map(|&id| &plan.matrix(id).parts);
        Self { f32: parts().any(|part| !is_int8(part.dtype)), int8: parts().any(|part| is_int8(part.dtype)) }
    }
}

impl BitOr for Forms {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self { f32: self.f32 | other.f32, int8: self.int8 | other.int8 }
    }
}

impl BitOrAssign for Forms {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

/// The forms that the ops of a plan write.
#[derive(Debug)]
pub(crate) struct PlanForms {
    /// For each op, those of each buffer that it writes.
    written: Vec<Vec<Forms>>,
    /// For each buffer, those that any op writes.
    kept: Vec<Forms>,
}

impl PlanForms {
    /// Derives the forms from the readers, from the last op to the first.
    pub(crate) fn of(plan: &Plan) -> Self {
        let mut needed = vec![Forms::default(); plan.buffers.len()];
        for result in plan.hidden.into_iter().chain(plan.logits) {
            needed[result.index()] = Forms::F32;
        }
        let mut written = Vec::with_capacity(plan.ops.len());
        let mut kept = vec![Forms::default(); plan.buffers.len()];
        for op in plan.ops.iter().rev() {
            let mut forms_of_op = Vec::new();
            for write in op.writes() {
                let needed = &mut needed[write.buffer.index()];
                let encodes = can_encode(op) && write.store == Store::Write;
                let forms = if encodes && *needed != Forms::default() { *needed } else { Forms::F32 };
                kept[write.buffer.index()] |= forms;
                forms_of_op.push(forms);
                *needed = if write.store == Store::Add { Forms::F32 } else { Forms::default() };
            }
            written.push(forms_of_op);
            for read in op.reads() {
                needed[read.buffer.index()] |= match &read.usage {
                    Usage::Values => Forms::F32,
                    Usage::Product(matrices) => Forms::of_factors(plan, matrices),
                };
            }
        }
        written.reverse();
        Self { written, kept }
    }

    /// The forms that an op writes of its `n`th output.
    pub(crate) fn written(&self, op: usize, n: usize) -> Forms {
        self.written[op][n]
    }

    /// The forms that any op writes of a buffer.
    pub(crate) fn kept(&self, buffer: BufferId) -> Forms {
        self.kept[buffer.index()]
    }
}

/// Whether the kernel of an operation can write int8 blocks. One that cannot needs no line here.
fn can_encode(op: &Op) -> bool {
    matches!(
        op,
        Op::Norm(_)
            | Op::Linear(_)
            | Op::GatedLinear(_)
            | Op::Attention(_)
            | Op::MoeFfn(_)
            | Op::SigmoidGate(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Embed, GatherRows, Linear, MatrixPart, Norm, NormKind, PlanBuilder, Rows};
    use crate::testing;

    const INT8: Forms = Forms { f32: false, int8: true };
    const BOTH: Forms = Forms { f32: true, int8: true };

    fn written(plan: &Plan) -> Vec<Forms> {
        let forms = PlanForms::of(plan);
        (0..plan.ops.len()).map(|op| forms.written(op, 0)).collect()
    }

    #[test]
    fn producers_write_what_their_readers_multiply() {
        let layer = [INT8, Forms::F32, Forms::F32, INT8, Forms::F32, INT8, INT8, Forms::F32];
        let quantized = [&[Forms::F32][..], &layer, &layer, &[Forms::F32; 3]].concat();
        assert_eq!(written(&testing::decoder(DType::Q8_0)), quantized);
        for dtype in [DType::F32, DType::F16, DType::Bf16] {
            assert_eq!(written(&testing::decoder(dtype)), [Forms::F32; 20]);
        }
        // The router reads floats.
        assert_eq!(written(&testing::experts(DType::Q4_0)), [Forms::F32, BOTH, Forms::F32, Forms::F32]);
    }

    #[test]
    fn each_write_has_the_forms_of_its_own_readers() {
        let mut plan = PlanBuilder::new(16);
        let mut matrix = |name: &str, dtype| {
            plan.matrix(name, 32, vec![MatrixPart { tensor: name.to_owned(), dtype, rows: 32 }])
        };
        let table = matrix("table", DType::F32);
        let quantized = matrix("quantized", DType::Q8_0);
        let norm = plan.vector("norm", 32, vec!["norm".to_owned()]);
        let [x, h] = ["x", "h"].map(|name| plan.buffer(name, Rows::Tokens, 32));
        let out = plan.buffer("out", Rows::Outputs, 32);
        let norm =
            Norm { x, kind: NormKind::Rms, weight: norm, bias: None, eps: 1e-5, store: Store::Write, out: h };
        plan.push(Embed { table, positions: None, scale: 1.0, out: x });
        plan.push(norm);
        plan.push(Linear { store: Store::Add, ..Linear::new(h, quantized, x) });
        plan.push(norm);
        plan.push(Linear { store: Store::Add, ..Linear::new(h, table, x) });
        plan.push(norm);
        plan.push(Linear { store: Store::Add, ..Linear::new(h, table, x) });
        plan.push(Linear { store: Store::Add, ..Linear::new(h, quantized, x) });
        // Read by a quantized product, but added to before: the reader has to encode.
        plan.push(Linear::new(x, quantized, h));
        plan.push(GatherRows { x: h, out });
        let plan = plan.finish(out);
        plan.validate().unwrap();
        let f32 = Forms::F32;
        assert_eq!(written(&plan), [f32, INT8, f32, f32, f32, BOTH, f32, f32, f32, f32]);
        let forms = PlanForms::of(&plan);
        assert_eq!((forms.kept(x), forms.kept(h), forms.kept(out)), (f32, BOTH, f32));
    }
}
