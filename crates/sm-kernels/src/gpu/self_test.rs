//! What a new driver is asked before it is trusted: products of every weight type, and a whole decoder.

use super::GpuBackend;
use super::form::{Form, SEGMENT_LEN};
use super::tuning;
use crate::plan::{
    Backend, ExecError, GatherRows, Input, KvDType, Limits, Linear, MatrixPart, OutputRow, PAGE_LEN, Plan,
    PlanBuilder, PrepareError, Rows, Span, StepBatch, StepOutput, Wanted, WeightSource,
};
use crate::testing::{self, RandomWeights, random_blocks};
use sm_tensor::{DType, PageId, TokenId};

/// Outputs of the products: no whole number of workgroups.
const N_OUTPUTS: usize = 37;
/// Numbers of rows, one for each kernel: the last is more than a tile of any kernel has, and so never few.
const N_ROWS: [usize; 3] = [1, 5, 65];
/// What a product of two halves may be off, as a part of it, if both were rounded towards zero.
const HALVES_ERROR: f64 = 2.0 / 1024.0;
/// How far values of a decoder may be from those of the CPU, as a part of the largest.
#[cfg(feature = "cpu")]
const DECODER_TOLERANCE: f32 = 1e-3;

/// Why a self-test failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelfTestError {
    /// A kernel cannot be made, or memory is short.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// A step failed.
    #[error(transparent)]
    Step(#[from] ExecError),
    /// A result is wrong.
    #[error("{adapter} computes {what} wrongly: {found} where {expected} is right")]
    Wrong {
        /// The adapter.
        adapter: String,
        /// What is wrong, and where.
        what: String,
        /// What it gave.
        found: String,
        /// What it should have given.
        expected: String,
    },
}

impl SelfTestError {
    /// Whether nothing is wrong with any kernel.
    fn is_lack_of_memory(&self) -> bool {
        matches!(self, Self::Prepare(PrepareError::OutOfMemory { .. }))
    }
}

impl GpuBackend {
    /// Multiplies by every weight type in each of its kernels, against sums in double precision, computes a small decoder with
    /// each type of keys and values, against the CPU if this build has it, and selects among its logits. Returns the number of
    /// values compared. Also measures which kernels suit the device, for models that are loaded later. Takes seconds, most of them for
    /// the driver to compile the kernels.
    ///
    /// If the device has cooperative matrices and fails with them, it is tested without, and they are not used any more:
    /// [`Adapter::matrices_error`](super::Adapter::matrices_error) says why.
    ///
    /// # Errors
    /// The first kernel that the driver refuses, or value that is wrong.
    pub fn self_test(&self) -> Result<usize, SelfTestError> {
        let tested = match self.test_kernels() {
            Err(error) if self.gpu.matrices().is_some() && !error.is_lack_of_memory() => {
                self.gpu.kept.keep_matrices_error(error.to_string());
                self.test_kernels()
            }
            tested => tested,
        };
        let n_values = tested?;
        self.gpu.kept.keep_sizes(tuning::measure(&self.gpu)?);
        self.gpu.kept.keep_tested(n_values);
        Ok(n_values)
    }

    fn test_kernels(&self) -> Result<usize, SelfTestError> {
        let mut n_values = 0;
        for dtype in DType::all() {
            n_values += self.test_products(dtype)?;
        }
        #[cfg(feature = "cpu")]
        for kv_dtype in [KvDType::F16, KvDType::F32, KvDType::Q8_0] {
            n_values += self.test_decoder(kv_dtype)?;
        }
        Ok(n_values + self.test_selection()?)
    }

    fn test_products(&self, dtype: DType) -> Result<usize, SelfTestError> {
        // Two blocks, and where there are no blocks a part of a segment.
        let cols = if dtype.block_len() == 1 { 10 * SEGMENT_LEN + 7 } else { 2 * dtype.block_len().max(128) };
        let plan = product(dtype, cols);
        let source = RandomWeights::new(&plan);
        let weights = source.values("weight");
        let x = random_blocks("rows", N_ROWS[2] * cols);
        // Rounding of each value, and of the additions.
        let halves = if self.gpu.matrices_for(Form::of(dtype)).is_some() { HALVES_ERROR } else { 0.0 };
        let error = halves + cols as f64 * f64::from(f32::EPSILON);
        let mut n_values = 0;
        for n_rows in N_ROWS {
            let x = &x[..n_rows * cols];
            let found = trace(self, &plan, &source, KvDType::F16, n_rows, Some(x))?.swap_remove(1);
            for (index, found) in found.iter().enumerate() {
                let (row, output) = (index / N_OUTPUTS, index % N_OUTPUTS);
                let (w, x) = (&weights[output * cols..][..cols], &x[row * cols..][..cols]);
                let terms = || w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x));
                let tolerance = error * terms().map(f64::abs).sum::<f64>();
                let expected: f64 = terms().sum();
                if (f64::from(*found) - expected).abs() > tolerance || found.is_nan() {
                    let what =
                        format!("a product with {dtype} weights ({n_rows} rows, row {row}, output {output})");
                    return Err(self.wrong(what, *found, expected as f32));
                }
            }
            n_values += found.len();
        }
        Ok(n_values)
    }

    #[cfg(feature = "cpu")]
    fn test_decoder(&self, kv_dtype: KvDType) -> Result<usize, SelfTestError> {
        // More positions than a partition of attention.
        const N_TOKENS: usize = 300;
        let plan = testing::mixed_decoder(DType::F32);
        let source = RandomWeights::new(&plan);
        let expected = trace(&crate::CpuBackend::new(), &plan, &source, kv_dtype, N_TOKENS, None)?;
        let found = trace(self, &plan, &source, kv_dtype, N_TOKENS, None)?;
        for ((op, found), expected) in plan.ops.iter().zip(&found).zip(&expected) {
            let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
            for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
                if (found - expected).abs() > DECODER_TOLERANCE * largest || found.is_nan() {
                    let what = format!("{} with {kv_dtype:?} keys and values (value {index})", op.name());
                    return Err(self.wrong(what, *found, *expected));
                }
            }
        }
        Ok(found.iter().map(Vec::len).sum())
    }

    /// The first tokens of rows that are found on the device, against those of their logits.
    fn test_selection(&self) -> Result<usize, SelfTestError> {
        let plan = testing::mixed_decoder(DType::F32);
        let limits = limits(N_ROWS[2], KvDType::F16);
        let mut executor = self.prepare(&plan, &RandomWeights::new(&plan), limits, &|_| ())?;
        let (tokens, pages) = (tokens(N_ROWS[2]), pages(limits.n_pages));
        let mut run = |wanted| {
            let outputs: Vec<_> = (0..N_ROWS[2] as u32).map(|row| OutputRow { row, wanted }).collect();
            let mut output = StepOutput::new();
            executor.run(
                &StepBatch { outputs: &outputs, ..batch(&tokens, &spans(N_ROWS[2]), &pages) },
                &mut output,
            )?;
            Ok::<_, ExecError>(output)
        };
        let all = run(Wanted::Logits)?;
        for wanted in [Wanted::ArgMax, Wanted::TopK(1), Wanted::TopK(9)] {
            let found = run(wanted)?;
            for row in 0..N_ROWS[2] {
                let mut expected = StepOutput::new();
                expected.push_logits(wanted, all.logits(row));
                let shown = |output: &StepOutput, row| match wanted {
                    Wanted::ArgMax => format!("{:?}", output.arg_max(row)),
                    _ => format!("{:?}", output.top(row)),
                };
                let (found, expected) = (shown(&found, row), shown(&expected, 0));
                if found != expected {
                    let what = format!("{wanted:?} of the logits of row {row}");
                    return Err(SelfTestError::Wrong {
                        adapter: self.adapter().to_string(),
                        what,
                        found,
                        expected,
                    });
                }
            }
        }
        Ok(3 * N_ROWS[2])
    }

    fn wrong(&self, what: String, found: f32, expected: f32) -> SelfTestError {
        let adapter = self.adapter().to_string();
        SelfTestError::Wrong { adapter, what, found: found.to_string(), expected: expected.to_string() }
    }
}

/// A product of rows that are brought.
fn product(dtype: DType, cols: usize) -> Plan {
    let mut builder = PlanBuilder::new(N_ROWS[2]);
    let x = builder.buffer("x", Rows::Tokens, cols);
    let part = MatrixPart { tensor: "weight".to_owned(), dtype, rows: N_OUTPUTS };
    let weight = builder.matrix("weight", cols, vec![part]);
    let y = builder.buffer("y", Rows::Tokens, N_OUTPUTS);
    let logits = builder.buffer("logits", Rows::Outputs, N_OUTPUTS);
    builder.push(Input { out: x });
    builder.push(Linear::new(x, weight, y));
    builder.push(GatherRows { x: y, out: logits });
    builder.finish(logits)
}

fn limits(n_rows: usize, kv_dtype: KvDType) -> Limits {
    let n_pages = n_rows.div_ceil(PAGE_LEN);
    Limits { max_tokens: n_rows, max_outputs: n_rows, max_sequences: 1, n_pages, kv_dtype }
}

fn tokens(n_rows: usize) -> Vec<TokenId> {
    (0..n_rows).map(|i| TokenId((i * 7 % testing::VOCAB_SIZE) as u32)).collect()
}

fn pages(n_pages: usize) -> Vec<PageId> {
    (0..n_pages as u32).rev().map(PageId).collect()
}

fn spans(n_rows: usize) -> [Span; 1] {
    [Span { n_rows: n_rows as u32, n_pages: n_rows.div_ceil(PAGE_LEN) as u32, ..Span::default() }]
}

/// The rows of a sequence from its beginning.
fn batch<'a>(tokens: &'a [TokenId], spans: &'a [Span], page_table: &'a [PageId]) -> StepBatch<'a> {
    StepBatch { tokens, spans, page_table, ..StepBatch::default() }
}

/// The first output of each operation, for one sequence of `n_rows` from its beginning.
pub(super) fn trace(
    backend: &dyn Backend,
    plan: &Plan,
    source: &dyn WeightSource,
    kv_dtype: KvDType,
    n_rows: usize,
    input: Option<&[f32]>,
) -> Result<Vec<Vec<f32>>, SelfTestError> {
    let limits = limits(n_rows, kv_dtype);
    let mut executor = backend.prepare(plan, source, limits, &|_| ())?;
    let (tokens, pages) = (tokens(n_rows), pages(limits.n_pages));
    let spans = spans(n_rows);
    let batch = StepBatch { outputs: &[OutputRow::logits(0)], input, ..batch(&tokens, &spans, &pages) };
    let mut all = Vec::new();
    executor.trace(&batch, &mut |_, values| all.push(values.to_vec()))?;
    Ok(all)
}
