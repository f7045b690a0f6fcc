//! Matrix products of the GPU backend on the first adapter, by weight format and rows: in single precision and in int8, on a device
//! with what every GPU has, then with subgroups, and with cooperative matrices if the adapter has them.
#![allow(clippy::print_stdout, reason = "what criterion does not print")]
#![allow(clippy::unwrap_used, reason = "a step that fails ends the measurement")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sm_benches::random_weights::RandomWeights;
use sm_kernels::plan::{
    Backend, Executor, GatherRows, Input, Limits, Linear, OutputRow, PAGE_LEN, Plan, PlanBuilder, Rows, Span,
    StepBatch, StepOutput, Wanted,
};
use sm_kernels::{GpuBackend, Restriction};
use sm_tensor::{DType, PageId, TokenId};

const FORMATS: [DType; 5] = [DType::Q4_0, DType::Q8_0, DType::Q4K, DType::Q6K, DType::F16];
/// One for each kernel.
const N_ROWS: [usize; 3] = [1, 4, 64];
/// Rows and columns of a matrix.
const SIZE: usize = 2048;
/// Matrices, so that no cache holds them all.
const COPIES: usize = 8;

/// Products of the same rows with each matrix.
fn plan(dtype: DType) -> Plan {
    let mut plan = PlanBuilder::new(N_ROWS[2]);
    let x = plan.buffer("x", Rows::Tokens, SIZE);
    let y = plan.buffer("y", Rows::Tokens, SIZE);
    let logits = plan.buffer("logits", Rows::Outputs, SIZE);
    plan.push(Input { out: x });
    for _ in 0..COPIES {
        let weight = plan.matrix("weight", SIZE, vec![RandomWeights::part(dtype, SIZE, SIZE)]);
        plan.push(Linear::new(x, weight, y));
    }
    plan.push(GatherRows { x: y, out: logits });
    plan.finish(logits)
}

fn run(executor: &mut dyn Executor, rows: &[f32]) {
    let n_rows = rows.len() / SIZE;
    let tokens = vec![TokenId(0); n_rows];
    let pages: Vec<_> = (0..n_rows.div_ceil(PAGE_LEN) as u32).map(PageId).collect();
    let batch = StepBatch {
        tokens: &tokens,
        spans: &[Span { n_rows: n_rows as u32, n_pages: pages.len() as u32, ..Span::default() }],
        page_table: &pages,
        outputs: &[OutputRow { row: 0, wanted: Wanted::ArgMax }],
        input: Some(rows),
        ..StepBatch::default()
    };
    executor.run(&batch, &mut StepOutput::new()).unwrap();
}

fn products(criterion: &mut Criterion) {
    let int8 = Restriction { int8: true, ..Restriction::PLAIN };
    let devices = [
        ("float", Restriction::PLAIN),
        ("int8", int8),
        ("subgroups", Restriction { subgroups: true, ..int8 }),
        ("matrices", Restriction::NONE),
    ]
    .map(|(name, restriction)| (name, GpuBackend::open_apart(0, restriction)));
    for dtype in FORMATS {
        let plan = plan(dtype);
        let mut group = criterion.benchmark_group(dtype.to_string());
        group.sample_size(10);
        for (name, device) in &devices {
            let Ok(device) = device else {
                println!("there is no GPU");
                return;
            };
            if *name == "matrices" && device.matrix_side().is_none() {
                continue;
            }
            let limits = Limits { max_tokens: N_ROWS[2], max_outputs: 1, ..Limits::one_sequence(N_ROWS[2]) };
            let mut executor = device.prepare(&plan, &RandomWeights, limits, &|_| ()).unwrap();
            for n_rows in N_ROWS {
                let rows: Vec<f32> = (0..n_rows * SIZE).map(|i| (i % 251) as f32 / 125.0 - 1.0).collect();
                group.throughput(Throughput::Elements((2 * n_rows * SIZE * SIZE * COPIES) as u64));
                group.bench_function(BenchmarkId::new(*name, n_rows), |bencher| {
                    bencher.iter(|| run(&mut *executor, &rows));
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, products);
criterion_main!(benches);
