//! Each operation of a layer except the matrix products, measured in place by the executor's profile of whole-model steps.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sm_benches::random_weights::RandomWeights;
use sm_kernels::CpuBackend;
use sm_kernels::plan::{
    Activation, Attention, Backend, BufferId, Embed, Executor, Experts, GatedLinear, GatherRows, Limits,
    Linear, MatrixId, MoeFfn, Norm, NormKind, NormOrder, OutputRow, PAGE_LEN, Plan, PlanBuilder, RopePairs,
    RopeStore, RopeTable, Rows, Span, StepBatch, StepOutput, Store,
};
use sm_tensor::{DType, PageId, TokenId};

/// The dimensions of the model of 1.1 billion parameters, and of some experts.
const HIDDEN: usize = 2048;
const N_HEADS: usize = 32;
const N_KV_HEADS: usize = 4;
const HEAD_DIM: usize = HIDDEN / N_HEADS;
const FFN: usize = 5632;
const N_EXPERTS: usize = 8;
const EXPERT_FFN: usize = 512;
const VOCAB_SIZE: usize = 64;
/// Enough layers for their weights to exceed most caches.
const N_LAYERS: usize = 2;

const CONTEXT_LEN: usize = 1024 + 16;
const PAGES: usize = CONTEXT_LEN.div_ceil(PAGE_LEN);
/// Maximum rows per step.
const MAX_ROWS: usize = 512;

/// The names of operations in a profile.
const OPS: [&str; 7] = ["embed", "norm", "rope_store", "attention", "gated_linear", "moe_ffn", "gather_rows"];

/// Maximum time per sample.
const SAMPLE_TIME: Duration = Duration::from_millis(100);

/// The sequences of a step: the new tokens of each, and the positions before them.
#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    n_sequences: usize,
    n_tokens: usize,
    depth: usize,
}

const CASES: [Case; 3] = [
    Case { name: "1 token after 1024", n_sequences: 1, n_tokens: 1, depth: 1024 },
    Case { name: "8 sequences, 1 token after 1024 each", n_sequences: 8, n_tokens: 1, depth: 1024 },
    Case { name: "a prompt of 512", n_sequences: 1, n_tokens: 512, depth: 0 },
];

/// The plan and the buffers shared by all layers.
struct Layers {
    plan: PlanBuilder,
    h: BufferId,
    normed: BufferId,
}

impl Layers {
    fn plan() -> Plan {
        let mut plan = PlanBuilder::new(CONTEXT_LEN);
        let h = plan.buffer("h", Rows::Tokens, HIDDEN);
        let normed = plan.buffer("normed", Rows::Tokens, HIDDEN);
        let mut layers = Self { plan, h, normed };
        let table = layers.matrix(DType::F16, VOCAB_SIZE, HIDDEN);
        layers.plan.push(Embed { table, positions: None, scale: 1.0, out: h });
        for _ in 0..N_LAYERS {
            layers.attention();
            layers.feed_forward();
            layers.experts();
        }
        let last = layers.plan.buffer("last", Rows::Outputs, HIDDEN);
        let logits = layers.plan.buffer("logits", Rows::Outputs, VOCAB_SIZE);
        layers.plan.push(GatherRows { x: h, out: last });
        layers.plan.push(linear(last, table, Store::Write, logits));
        layers.plan.finish(logits)
    }

    fn matrix(&mut self, dtype: DType, rows: usize, cols: usize) -> MatrixId {
        self.plan.matrix("weight", cols, vec![RandomWeights::part(dtype, rows, cols)])
    }

    fn norm(&mut self) {
        let weight = self.plan.vector("norm", HIDDEN, RandomWeights::vector(HIDDEN));
        self.plan.push(Norm {
            x: self.h,
            kind: NormKind::Rms,
            weight,
            bias: None,
            eps: 1e-5,
            store: Store::Write,
            out: self.normed,
        });
    }

    fn attention(&mut self) {
        let kv = self.plan.kv(N_KV_HEADS, HEAD_DIM, HEAD_DIM);
        let inv_freq =
            (0..HEAD_DIM / 2).map(|pair| 1e4_f32.powf(-2.0 * pair as f32 / HEAD_DIM as f32)).collect();
        let rope =
            self.plan.rope(RopeTable { inv_freq, scale: 1.0, pairs: RopePairs::Adjacent, extended: None });
        let qkv_width = (N_HEADS + 2 * N_KV_HEADS) * HEAD_DIM;
        let qkv = self.plan.buffer("qkv", Rows::Tokens, qkv_width);
        let q = self.plan.buffer("q", Rows::Tokens, HIDDEN);
        let heads = self.plan.buffer("heads", Rows::Tokens, HIDDEN);
        let to_qkv = self.matrix(DType::Q4_0, qkv_width, HIDDEN);
        let to_h = self.matrix(DType::Q4_0, HIDDEN, HIDDEN);
        let scale = 1.0 / (HEAD_DIM as f32).sqrt();
        self.norm();
        self.plan.push(linear(self.normed, to_qkv, Store::Write, qkv));
        self.plan.push(RopeStore {
            qkv,
            kv,
            rope: Some(rope),
            q_norm: None,
            k_norm: None,
            norm_eps: 1e-5,
            norm_order: NormOrder::BeforeRope,
            q_scale: None,
            q,
        });
        self.plan.push(Attention {
            q,
            kv,
            n_heads: N_HEADS,
            scale,
            window: None,
            soft_cap: None,
            out: heads,
        });
        self.plan.push(linear(heads, to_h, Store::Add, self.h));
    }

    fn feed_forward(&mut self) {
        let inner = self.plan.buffer("inner", Rows::Tokens, FFN);
        let [gate, up] = [(); 2].map(|()| self.matrix(DType::Q4_0, FFN, HIDDEN));
        let down = self.matrix(DType::Q4_0, HIDDEN, FFN);
        self.norm();
        self.plan.push(GatedLinear { x: self.normed, gate, up, activation: Activation::Silu, out: inner });
        self.plan.push(linear(inner, down, Store::Add, self.h));
    }

    fn experts(&mut self) {
        let experts = Experts {
            router: self.matrix(DType::F32, N_EXPERTS, HIDDEN),
            gate: self.matrix(DType::Q4_0, N_EXPERTS * EXPERT_FFN, HIDDEN),
            up: self.matrix(DType::Q4_0, N_EXPERTS * EXPERT_FFN, HIDDEN),
            down: self.matrix(DType::Q4_0, N_EXPERTS * HIDDEN, EXPERT_FFN),
            n_experts: N_EXPERTS,
            top_k: 2,
            renormalize: true,
            activation: Activation::Silu,
        };
        self.norm();
        self.plan.push(MoeFfn { x: self.normed, experts, store: Store::Add, out: self.h });
    }
}

fn linear(x: BufferId, weight: MatrixId, store: Store, out: BufferId) -> Linear {
    Linear { store, ..Linear::new(x, weight, out) }
}

/// The prepared layers.
struct Model {
    executor: Box<dyn Executor>,
    tokens: Vec<TokenId>,
    pages: Vec<PageId>,
    output: StepOutput,
}

impl Model {
    /// Writes every page first: untouched memory maps to one shared zero page, which would stay in the CPU cache.
    fn new(n_threads: usize) -> Self {
        let max_sequences = CASES.iter().map(|case| case.n_sequences).max().unwrap_or(1);
        let n_pages = max_sequences * PAGES;
        let limits = Limits {
            max_tokens: MAX_ROWS,
            max_outputs: max_sequences,
            max_sequences,
            n_pages,
            ..Limits::one_sequence(CONTEXT_LEN)
        };
        let backend = CpuBackend::new().exact_threads(n_threads);
        let executor =
            backend.prepare(&Layers::plan(), &RandomWeights, limits, &|_| ()).expect("the plan is valid");
        let tokens = (0..MAX_ROWS as u32).map(|row| TokenId(row % VOCAB_SIZE as u32)).collect();
        let pages = (0..n_pages as u32).map(PageId).collect();
        let mut model = Self { executor, tokens, pages, output: StepOutput::new() };
        for first in (0..max_sequences).map(|sequence| sequence * PAGES) {
            for depth in (0..CONTEXT_LEN).step_by(MAX_ROWS) {
                let n_rows = MAX_ROWS.min(CONTEXT_LEN - depth);
                model.run(&[span(0, n_rows, depth, first)], n_rows);
            }
        }
        model
    }

    fn run(&mut self, spans: &[Span], n_rows: usize) {
        let last = |span: &Span| OutputRow::logits(span.first_row + span.n_rows - 1);
        let outputs: Vec<_> = spans.iter().map(last).collect();
        let batch = StepBatch {
            tokens: &self.tokens[..n_rows],
            spans,
            page_table: &self.pages,
            outputs: &outputs,
            ..StepBatch::default()
        };
        self.executor.run(&batch, &mut self.output).expect("the step runs");
        black_box(self.output.logits(0)[0]);
    }

    /// The mean time of one operation over up to `n_steps` steps of `case`.
    fn time(&mut self, case: &Case, op: &str, n_steps: u64) -> Duration {
        let spans: Vec<_> = (0..case.n_sequences)
            .map(|sequence| span(sequence * case.n_tokens, case.n_tokens, case.depth, sequence * PAGES))
            .collect();
        self.executor.start_profile();
        let start = Instant::now();
        for _ in 0..n_steps {
            self.run(&spans, case.n_sequences * case.n_tokens);
            if start.elapsed() > SAMPLE_TIME {
                break;
            }
        }
        let profile = self.executor.finish_profile().expect("the CPU backend supports profiling");
        let row =
            profile.rows.iter().find(|row| row.name.split(' ').next() == Some(op)).expect("the plan has it");
        row.time / (profile.n_steps * row.n_ops) as u32
    }
}

/// `n_rows` rows from `first_row` on, after `depth` positions, of the sequence whose pages start at `first_page`.
fn span(first_row: usize, n_rows: usize, depth: usize, first_page: usize) -> Span {
    Span {
        first_row: first_row as u32,
        n_rows: n_rows as u32,
        start: depth as u32,
        first_page: first_page as u32,
        n_pages: (depth + n_rows).div_ceil(PAGE_LEN) as u32,
        state: None,
        ..Span::default()
    }
}

fn ops(criterion: &mut Criterion) {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    let mut thread_counts = vec![1, all];
    thread_counts.dedup();
    for n_threads in thread_counts {
        // Prepare only if the filter selects a case.
        let mut model = None;
        for case in CASES {
            let mut group = criterion.benchmark_group(format!("ops, {}", case.name));
            group.throughput(Throughput::Elements((case.n_sequences * case.n_tokens) as u64));
            for op in OPS {
                group.bench_function(BenchmarkId::new(op, n_threads), |bencher| {
                    let model = model.get_or_insert_with(|| Model::new(n_threads));
                    // If the operation is a small part of a step, criterion's step count would take forever.
                    bencher.iter_custom(|n_times| {
                        model.time(&case, op, n_times).max(Duration::from_nanos(1)) * n_times as u32
                    });
                });
            }
        }
    }
}

fn few_samples() -> Criterion {
    let config = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(10));
    config.measurement_time(Duration::from_millis(500)).configure_from_args()
}

criterion_group! { name = benches; config = few_samples(); targets = ops }
criterion_main!(benches);
