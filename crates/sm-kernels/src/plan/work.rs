//! What an operation must read and compute in a step, whichever backend runs it.

use std::ops::AddAssign;

use sm_tensor::DType;

use super::{AttentionParams, Experts, KvDType, KvId, MatrixId, Op, Plan, Rows, Span, StepBatch};

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

impl Plan {
    /// The work of an operation of this plan in a step, with pages of `kv_dtype`.
    pub fn work(&self, op: &Op, batch: &StepBatch<'_>, kv_dtype: KvDType) -> Work {
        let n_rows = match self.buffer(op.output()).rows {
            Rows::Tokens => batch.tokens.len(),
            Rows::Outputs => batch.outputs.len(),
        } as u64;
        let mut work = Work::default();
        match *op {
            Op::Embed { table, positions, .. } => {
                for matrix in [Some(table), positions].into_iter().flatten() {
                    let matrix_bytes = self.product(matrix, 0).read_bytes;
                    work.read_bytes += matrix_bytes / self.matrix(matrix).rows() as u64 * n_rows;
                }
            }
            Op::Linear { weight, .. } => work = self.product(weight, n_rows),
            Op::GatedLinear { gate, up, .. } => {
                work = self.product(gate, n_rows);
                work += self.product(up, n_rows);
            }
            Op::Attention { kv, params, .. } => {
                batch.spans.iter().for_each(|span| work += self.attention_work(span, kv, params, kv_dtype));
            }
            Op::MoeFfn { experts, .. } => work = self.experts_work(experts, n_rows),
            Op::Norm { .. } | Op::RopeStore { .. } | Op::GatherRows { .. } => {}
        }
        work
    }

    /// A matrix is read, and multiplied with `n_rows` rows; without rows, nothing is.
    fn product(&self, id: MatrixId, n_rows: u64) -> Work {
        let matrix = self.matrix(id);
        let mut work = Work::default();
        for part in &matrix.parts {
            let (rows, cols) = (part.rows as u64, matrix.cols as u64);
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

    fn experts_work(&self, experts: Experts, n_rows: u64) -> Work {
        let (n_experts, top_k) = (experts.n_experts as u64, experts.top_k as u64);
        let mut work = self.product(experts.router, n_rows);
        for matrix in [experts.gate, experts.up, experts.down] {
            // As if every row went through all experts.
            let all = self.product(matrix, n_rows);
            work += Work {
                read_bytes: all.read_bytes * (n_rows * top_k).min(n_experts) / n_experts,
                float_ops: all.float_ops * top_k / n_experts,
                bf16_ops: all.bf16_ops * top_k / n_experts,
                int8_ops: all.int8_ops * top_k / n_experts,
            };
        }
        work
    }

    fn attention_work(&self, span: &Span, kv: KvId, params: AttentionParams, kv_dtype: KvDType) -> Work {
        let Some(group) = self.cache.group(kv) else { return Work::default() };
        let head_bytes = (kv_dtype.head_bytes(group.key_dim) + kv_dtype.head_bytes(group.value_dim)) as u64;
        let width = (group.key_dim + group.value_dim) as u64;
        let (start, end) = (u64::from(span.start), u64::from(span.start) + u64::from(span.n_rows));
        let window = params.window.map_or(u64::MAX, |window| window as u64);
        let n_seen: u64 = (start..end).map(|position| (position + 1).min(window)).sum();
        // The first row sees the furthest back.
        let n_positions = end - (start + 1).saturating_sub(window);
        Work {
            read_bytes: n_positions * group.n_kv_heads as u64 * head_bytes,
            float_ops: 2 * n_seen * params.n_heads as u64 * width,
            ..Work::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use sm_tensor::{PageId, TokenId};

    use super::*;
    use crate::plan::OutputRow;
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
        plan.work(op, &batch, KvDType::F16)
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
