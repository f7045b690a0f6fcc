//! Matrix products through the CPU backend: one row (bytes of weights per second, beside a plain read of memory) and
//! many rows (multiply-adds per second), per weight format and number of threads.

use std::borrow::Cow;
use std::hint::black_box;
use std::ops::Range;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sm_kernels::CpuBackend;
use sm_kernels::plan::{
    Backend, Encoding, Epilogue, Executor, KvDType, KvLayout, Limits, MatrixPart, NormKind, Op, Plan,
    PlanBuilder, Rows, Span, StepBatch, Store, WeightError, WeightSource,
};
use sm_tensor::{DType, PageId, TokenId};

const COLS: usize = 2048;
const ROWS: usize = 5632;
/// Matrices of [`ROWS`] that together are larger than any cache.
const COPIES: usize = 16;
const FORMATS: [DType; 7] =
    [DType::Q4_0, DType::Q8_0, DType::Q4K, DType::Q6K, DType::F16, DType::Bf16, DType::F32];
const THREADS: [usize; 2] = [1, 2];

/// Random bytes with small half-precision scales, whatever is asked for.
struct RandomBytes;

impl WeightSource for RandomBytes {
    fn matrix_rows(&self, tensor: &str, rows: Range<usize>) -> Result<Cow<'_, [u8]>, WeightError> {
        let unreadable = |reason: String| WeightError::Unreadable { tensor: tensor.to_owned(), reason };
        let dtype: DType = tensor.parse().map_err(|error| unreadable(format!("{error}")))?;
        let row_bytes = dtype.row_bytes(COLS).ok_or_else(|| unreadable("partial blocks".to_owned()))?;
        let mut state = 1_u32;
        let bytes = (0..rows.len() * row_bytes).map(|index| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // The upper bytes of numbers keep a small exponent.
            if index % 2 == 0 { (state >> 24) as u8 } else { (state >> 24) as u8 & 0x3b }
        });
        Ok(Cow::Owned(bytes.collect()))
    }

    fn vector(&self, _tensor: &str) -> Result<Vec<f32>, WeightError> {
        Ok(vec![1.0; COLS])
    }
}

/// A table of a few embeddings, and one product with `copies` matrices stacked.
fn plan(dtype: DType, copies: usize) -> Plan {
    let mut plan = PlanBuilder::new(KvLayout { n_layers: 1, n_kv_heads: 1, head_dim: 16 }, 1024);
    let part = |dtype: DType, rows| MatrixPart { tensor: dtype.name().to_owned(), dtype, rows };
    let table = plan.matrix("table", COLS, vec![part(DType::F16, 64)]);
    let weight = plan.matrix("weight", COLS, vec![part(dtype, ROWS); copies]);
    let encoding = if dtype.is_quantized() { Encoding::Int8 } else { Encoding::F32 };
    let norm = plan.vector("norm", COLS, vec!["norm".to_owned()]);
    let h = plan.buffer("h", Rows::Tokens, COLS, Encoding::F32);
    let x = plan.buffer("x", Rows::Tokens, COLS, encoding);
    let y = plan.buffer("y", Rows::Tokens, ROWS * copies, Encoding::F32);
    let logits = plan.buffer("logits", Rows::Outputs, ROWS * copies, Encoding::F32);
    plan.push(Op::Embed { table, positions: None, scale: 1.0, out: h });
    let (kind, store) = (NormKind::Rms, Store::Write);
    plan.push(Op::Norm { x: h, kind, weight: norm, bias: None, eps: 1e-6, store, out: x });
    let (bias, epilogue) = (None, Epilogue::None);
    plan.push(Op::Linear { x, weight, bias, epilogue, store, out: y });
    plan.push(Op::TakeOutputs { x: y, out: logits });
    plan.finish(logits)
}

/// The plan made ready, and a step of `n_rows`.
struct Step {
    executor: Box<dyn Executor>,
    tokens: Vec<TokenId>,
    pages: Vec<PageId>,
}

impl Step {
    fn new(plan: &Plan, n_rows: usize, n_threads: usize) -> Self {
        let n_pages = n_rows.div_ceil(16);
        let limits =
            Limits { max_tokens: n_rows, max_outputs: 1, max_sequences: 1, n_pages, kv_dtype: KvDType::F16 };
        let backend = CpuBackend::new().threads(n_threads);
        let executor = backend.prepare(plan, &RandomBytes, limits, &|_| ()).expect("the plan is valid");
        let tokens = (0..n_rows as u32).map(|row| TokenId(row % 64)).collect();
        Self { executor, tokens, pages: (0..n_pages as u32).map(PageId).collect() }
    }

    fn run(&mut self) {
        let (n_rows, n_pages) = (self.tokens.len() as u32, self.pages.len() as u32);
        let span = Span { first_row: 0, n_rows, start: 0, first_page: 0, n_pages };
        let batch =
            StepBatch { tokens: &self.tokens, spans: &[span], page_table: &self.pages, output_rows: &[0] };
        self.executor.submit(&batch).expect("the step fits");
        black_box(self.executor.wait().expect("the step runs").row(0)[0]);
    }
}

fn read_memory(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read");
    let words = vec![1_u64; 32 << 20];
    group.throughput(Throughput::Bytes(size_of_val(words.as_slice()) as u64));
    for n_threads in THREADS {
        let share = words.len() / n_threads;
        let read = |words: &[u64]| words.iter().fold(0, |bits, word| bits | word);
        group.bench_function(BenchmarkId::from_parameter(n_threads), |bencher| {
            bencher.iter(|| {
                std::thread::scope(|scope| {
                    for words in words.chunks(share) {
                        scope.spawn(|| black_box(read(words)));
                    }
                });
            });
        });
    }
}

fn products(criterion: &mut Criterion) {
    for (n_rows, copies) in [(1, COPIES), (8, COPIES), (512, 1)] {
        let mut group = criterion.benchmark_group(format!("{n_rows} rows"));
        for dtype in FORMATS {
            let plan = plan(dtype, copies);
            let weight_bytes = dtype.row_bytes(COLS).unwrap_or(0) * ROWS * copies;
            let n_operations = 2 * n_rows * ROWS * copies * COLS;
            group.throughput(if n_rows == 1 {
                Throughput::Bytes(weight_bytes as u64)
            } else {
                Throughput::Elements(n_operations as u64)
            });
            for n_threads in THREADS {
                // Made ready only if the filter lets it through.
                let mut step = None;
                group.bench_function(BenchmarkId::new(dtype.name(), n_threads), |bencher| {
                    let step = step.get_or_insert_with(|| Step::new(&plan, n_rows, n_threads));
                    bencher.iter(|| step.run());
                });
            }
        }
    }
}

fn few_samples() -> Criterion {
    Criterion::default().sample_size(20).measurement_time(Duration::from_secs(2)).configure_from_args()
}

criterion_group! { name = benches; config = few_samples(); targets = read_memory, products }
criterion_main!(benches);
