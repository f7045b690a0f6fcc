//! What an operation must read and compute in a step, whichever backend runs it.

use std::ops::AddAssign;

use sm_tensor::DType;

use super::batch::StepBatch;
use super::kv_dtype::KvDType;
use super::{BufferId, MatrixId, Plan, Rows};

/// What an operation must read and compute. Activations are not counted: they stay in caches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Bytes of weights, keys and values, each counted once per step. Of experts, as many as the rows may choose.
    pub read_bytes: u64,
    /// Additions and multiplications of single precision, in matrix products and attention.
    pub float_ops: u64,
    /// Additions and multiplications of bfloat16, in products of matrices in it.
    pub bf16_ops: u64,
    /// Additions and multiplications of bytes, in products of quantized matrices.
    pub int8_ops: u64,
}

impl AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        self.read_bytes += other.read_bytes;
        self.float_ops += other.float_ops;
        self.bf16_ops += other.bf16_ops;
        self.int8_ops += other.int8_ops;
    }
}

/// A step of a plan, whose work is counted.
pub(crate) struct StepWork<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) batch: &'a StepBatch<'a>,
    pub(crate) kv_dtype: KvDType,
}

impl StepWork<'_> {
    /// Rows of a buffer.
    pub(crate) fn n_rows(&self, buffer: BufferId) -> u64 {
        let n_rows = match self.plan.buffer(buffer).rows {
            Rows::Tokens => self.batch.tokens.len(),
            Rows::Outputs => self.batch.outputs.len(),
        };
        n_rows as u64
    }

    /// Bytes of a row of a matrix, on average over its parts.
    pub(crate) fn row_bytes(&self, id: MatrixId) -> u64 {
        self.product(id, 0).read_bytes / self.plan.matrix(id).rows() as u64
    }

    /// A matrix is read once, and multiplied with `n_rows` rows.
    pub(crate) fn product(&self, id: MatrixId, n_rows: u64) -> Work {
        let matrix = self.plan.matrix(id);
        let mut work = Work::default();
        for part in &matrix.parts {
            let rows = part.rows as u64;
            let cols = matrix.cols as u64;
            work.read_bytes += rows * part.dtype.row_bytes(matrix.cols).unwrap_or(0) as u64;
            let ops = match part.dtype {
                DType::Bf16 => &mut work.bf16_ops,
                dtype if dtype.is_quantized() => &mut work.int8_ops,
                _ => &mut work.float_ops,
            };
            *ops += 2 * rows * cols * n_rows;
        }
        work
    }
}

#[cfg(test)]
mod tests {
    use sm_tensor::{PageId, TokenId};

    use super::*;
    use crate::plan::{OutputRow, Span};
    use crate::testing;

    /// The work of the first op of a plan with that name, in a step of 3 rows at position 30, one of which is wanted.
    fn work(plan: &Plan, name: &str, nth: usize) -> Work {
        let span = Span { n_rows: 3, start: 30, n_pages: 3, ..Span::default() };
        let batch = StepBatch {
            tokens: &[TokenId(1); 3],
            spans: &[span],
            page_table: &[0, 1, 2].map(PageId),
            outputs: &[OutputRow::logits(2)],
            ..StepBatch::default()
        };
        let op = plan.ops.iter().filter(|op| op.name() == name).nth(nth).expect("the plan has the op");
        op.work(plan, &batch, KvDType::F16)
    }

    #[test]
    fn products_read_their_weights_once_and_compute_for_every_row() {
        let plan = testing::decoder(DType::Q8_0);
        // 128 x 64 values in blocks of 32 and 34 bytes.
        let qkv = Work { read_bytes: 128 * 2 * 34, int8_ops: 2 * 128 * 64 * 3, ..Work::default() };
        assert_eq!(work(&plan, "linear", 0), qkv);
        let gated = Work { read_bytes: 2 * 96 * 2 * 34, int8_ops: 2 * 2 * 96 * 64 * 3, ..Work::default() };
        assert_eq!(work(&plan, "gated_linear", 0), gated);
        // The table, for the one row that is wanted.
        let head = Work { read_bytes: 40 * 64 * 4, float_ops: 2 * 40 * 64, ..Work::default() };
        assert_eq!(work(&plan, "linear", 6), head);
        assert_eq!(work(&plan, "embed", 0), Work { read_bytes: 3 * 64 * 4, ..Work::default() });
    }

    #[test]
    fn attention_sees_the_positions_before_and_no_further_than_its_window() {
        let plan = testing::decoder(DType::Q8_0);
        let full = Work {
            read_bytes: 2 * 33 * 2 * 16 * 2,
            float_ops: 4 * (31 + 32 + 33) * 4 * 16,
            ..Work::default()
        };
        assert_eq!(work(&plan, "attention", 0), full);
        let windowed =
            Work { read_bytes: 2 * 22 * 2 * 16 * 2, float_ops: 4 * (3 * 20) * 4 * 16, ..Work::default() };
        assert_eq!(work(&plan, "attention", 1), windowed);
    }

    #[test]
    fn rows_go_through_the_experts_they_choose() {
        let plan = testing::experts(DType::Q8_0);
        let one_expert = 2 * 32 * 2 * 34 + 64 * 34;
        let expected = Work {
            read_bytes: 4 * 64 * 4 + 4 * one_expert,
            float_ops: 2 * 4 * 64 * 3,
            int8_ops: 2 * 3 * 32 * 64 * (3 * 2),
            bf16_ops: 0,
        };
        assert_eq!(work(&plan, "moe_ffn", 0), expected);
    }
}
