//! Matrix products of the CPU backend, by weight format, instruction set, shape, rows and threads. Results are fractions of
//! the machine's limits, measured just before: bytes per second of a plain read, and operations per second of multiply-adds
//! in registers.
#![allow(clippy::print_stdout, reason = "what criterion does not print")]

use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sm_benches::random_weights::RandomWeights;
use sm_kernels::plan::{
    Backend, Embed, Executor, GatherRows, Limits, Linear, Norm, NormKind, OutputRow, Plan, PlanBuilder, Rows,
    Span, StepBatch, StepOutput, Store,
};
use sm_kernels::testing::{Precision, multiply_and_add};
use sm_kernels::{CpuBackend, IsaKind};
use sm_tensor::{DType, PageId, TokenId};

const FORMATS: [DType; 7] =
    [DType::Q4_0, DType::Q8_0, DType::Q4K, DType::Q6K, DType::F16, DType::Bf16, DType::F32];

/// A matrix, and how many are stacked to exceed every cache.
#[derive(Clone, Copy, Debug)]
struct Shape {
    rows: usize,
    cols: usize,
    copies: usize,
}

/// The up projections of the models of 1.1 billion and 135 million parameters. Rows of the second are too short for K formats.
const SHAPES: [Shape; 2] =
    [Shape { rows: 5632, cols: 2048, copies: 16 }, Shape { rows: 1536, cols: 576, copies: 208 }];

/// A product and its setting.
#[derive(Clone, Copy, Debug)]
struct Case {
    dtype: DType,
    shape: Shape,
    n_rows: usize,
    isa: IsaKind,
    n_threads: usize,
}

impl Case {
    /// Copies of the matrix: many if each is read once, one if many rows use it.
    fn copies(&self) -> usize {
        if self.n_rows > 64 { 1 } else { self.shape.copies }
    }

    fn weight_bytes(&self) -> usize {
        self.dtype.row_bytes(self.shape.cols).unwrap_or(0) * self.shape.rows * self.copies()
    }

    fn n_operations(&self) -> usize {
        2 * self.n_rows * self.shape.rows * self.copies() * self.shape.cols
    }

    /// A table of a few embeddings, and one product with the matrices stacked.
    fn plan(&self) -> Plan {
        let Shape { rows, cols, .. } = self.shape;
        let mut plan = PlanBuilder::new(1024);
        let part = |dtype: DType, rows| RandomWeights::part(dtype, rows, cols);
        let table = plan.matrix("table", cols, vec![part(DType::F16, 64)]);
        let weight = plan.matrix("weight", cols, vec![part(self.dtype, rows); self.copies()]);
        let norm = plan.vector("norm", cols, RandomWeights::vector(cols));
        let h = plan.buffer("h", Rows::Tokens, cols);
        let x = plan.buffer("x", Rows::Tokens, cols);
        let y = plan.buffer("y", Rows::Tokens, rows * self.copies());
        let logits = plan.buffer("logits", Rows::Outputs, rows * self.copies());
        plan.push(Embed { table, positions: None, scale: 1.0, out: h });
        plan.push(Norm {
            x: h,
            kind: NormKind::Rms,
            weight: norm,
            bias: None,
            eps: 1e-6,
            store: Store::Write,
            out: x,
        });
        plan.push(Linear::new(x, weight, y));
        plan.push(GatherRows { x: y, out: logits });
        plan.finish(logits)
    }
}

/// The prepared plan, and a step of its rows.
struct Step {
    executor: Box<dyn Executor>,
    tokens: Vec<TokenId>,
    pages: Vec<PageId>,
    output: StepOutput,
}

impl Step {
    fn new(case: &Case) -> Self {
        let max_tokens = case.n_rows;
        let limits = Limits { max_tokens, ..Limits::one_sequence(max_tokens) };
        let backend = CpuBackend::new().exact_threads(case.n_threads).isa(case.isa);
        let executor =
            backend.prepare(&case.plan(), &RandomWeights, limits, &|_| ()).expect("the plan is valid");
        let tokens = (0..max_tokens as u32).map(|row| TokenId(row % 64)).collect();
        let pages = (0..limits.n_pages as u32).map(PageId).collect();
        Self { executor, tokens, pages, output: StepOutput::new() }
    }

    fn run(&mut self) {
        let n_rows = self.tokens.len() as u32;
        let n_pages = self.pages.len() as u32;
        let batch = StepBatch {
            tokens: &self.tokens,
            spans: &[Span { n_rows, n_pages, ..Span::default() }],
            page_table: &self.pages,
            outputs: &[OutputRow::logits(0)],
            ..StepBatch::default()
        };
        self.executor.run(&batch, &mut self.output).expect("the step runs");
        black_box(self.output.logits(0)[0]);
    }
}

/// The machine's limits with a number of threads.
#[derive(Clone, Copy, Debug)]
struct Peak {
    bytes_per_second: f64,
    float_operations_per_second: f64,
    bf16_operations_per_second: f64,
    int8_operations_per_second: f64,
}

impl Peak {
    fn measured(isa: IsaKind, n_threads: usize) -> Self {
        let words = vec![1_u64; 32 << 20];
        let share = words.len().div_ceil(n_threads);
        let seconds = best_time(n_threads, &|thread| {
            black_box(words[thread * share..][..share].iter().fold(0, |bits, word| bits | word));
        });
        let operations = |precision| {
            let n_rounds = if isa == IsaKind::Scalar { 100_000 } else { 4_000_000 };
            let once = multiply_and_add(isa, precision, 1) as f64 * n_rounds as f64 * n_threads as f64;
            once / best_time(n_threads, &|_| _ = black_box(multiply_and_add(isa, precision, n_rounds)))
        };
        Self {
            bytes_per_second: size_of_val(&words[..]) as f64 / seconds,
            float_operations_per_second: operations(Precision::F32),
            bf16_operations_per_second: operations(Precision::Bf16),
            int8_operations_per_second: operations(Precision::Int8),
        }
    }

    fn print(&self, isa: IsaKind, n_threads: usize) {
        let memory = self.bytes_per_second / 1e9;
        let [float, bf16, int8] = [
            self.float_operations_per_second,
            self.bf16_operations_per_second,
            self.int8_operations_per_second,
        ]
        .map(|rate| rate / 1e9);
        println!(
            "limits of {isa}, {n_threads} threads: memory {memory:.1} GB/s, f32 {float:.0} GFLOP/s, bf16 {bf16:.0} GFLOP/s, \
             int8 {int8:.0} GOP/s"
        );
    }

    /// The speed of a case, absolute and as fractions of the limits.
    fn print_share(&self, case: &Case, seconds: f64) {
        let bytes = case.weight_bytes() as f64 / seconds;
        let operations = case.n_operations() as f64 / seconds;
        let limit = match case.dtype {
            DType::Bf16 => self.bf16_operations_per_second,
            dtype if dtype.is_quantized() => self.int8_operations_per_second,
            _ => self.float_operations_per_second,
        };
        let of_memory = 100.0 * bytes / self.bytes_per_second;
        let of_arithmetic = 100.0 * operations / limit;
        let bytes = bytes / 1e9;
        let operations = operations / 1e9;
        println!(
            "    at best {bytes:.1} GB/s, {of_memory:.0} %; {operations:.0} GOP/s, {of_arithmetic:.0} %"
        );
    }
}

/// The minimum time, in seconds, of five runs of `work` on every thread.
fn best_time(n_threads: usize, work: &(dyn Fn(usize) + Sync)) -> f64 {
    let once = |_| {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..n_threads {
                scope.spawn(move || work(thread));
            }
        });
        start.elapsed().as_secs_f64()
    };
    (0..5).map(once).fold(f64::INFINITY, f64::min)
}

/// Every instruction set except the scalar one, which only exists for comparison.
fn instruction_sets() -> impl Iterator<Item = IsaKind> {
    IsaKind::available().filter(|isa| *isa == IsaKind::best() || *isa != IsaKind::Scalar)
}

fn products(criterion: &mut Criterion) {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    let mut thread_counts = vec![1, all];
    thread_counts.dedup();
    for isa in instruction_sets() {
        for &n_threads in &thread_counts {
            let peak = Peak::measured(isa, n_threads);
            peak.print(isa, n_threads);
            for shape in SHAPES {
                for n_rows in [1, 8, 512] {
                    for dtype in FORMATS.into_iter().filter(|dtype| dtype.row_bytes(shape.cols).is_some()) {
                        bench(criterion, Case { dtype, shape, n_rows, isa, n_threads }, &peak);
                    }
                }
            }
        }
    }
}

fn bench(criterion: &mut Criterion, case: Case, peak: &Peak) {
    let Case { dtype, shape: Shape { rows, cols, .. }, n_rows, isa, n_threads } = case;
    let mut group = criterion.benchmark_group(format!("{rows}x{cols}, {n_rows} rows, {isa}"));
    group.throughput(if n_rows == 1 {
        Throughput::Bytes(case.weight_bytes() as u64)
    } else {
        Throughput::Elements(case.n_operations() as u64)
    });
    // Prepare only if the filter selects the case.
    let mut step = None;
    let best = Cell::new(f64::INFINITY);
    group.bench_function(BenchmarkId::new(dtype.name(), n_threads), |bencher| {
        let step = step.get_or_insert_with(|| Step::new(&case));
        bencher.iter_custom(|n_times| {
            let start = Instant::now();
            (0..n_times).for_each(|_| step.run());
            let elapsed = start.elapsed();
            best.set(best.get().min(elapsed.as_secs_f64() / n_times as f64));
            elapsed
        });
    });
    if best.get().is_finite() {
        peak.print_share(&case, best.get());
    }
}

fn few_samples() -> Criterion {
    let config = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(500));
    config.measurement_time(Duration::from_secs(1)).configure_from_args()
}

criterion_group! { name = benches; config = few_samples(); targets = products }
criterion_main!(benches);
