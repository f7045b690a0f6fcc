//! What only the inside of the executor can show.

use std::time::Duration;

use sm_tensor::{DType, TokenId};

use super::*;
use crate::cpu::arena::Access;
use crate::cpu::backend::CpuBackend;
use crate::plan::{
    Activation, Backend, Embed, Epilogue, GatedLinear, GatherRows, Linear, MatrixPart, MemoryNeeds, Norm,
    PlanBuilder, Rows, Store,
};
use crate::plan::{KvDType, Span, Speed};
use crate::testing::{self, RandomWeights};

fn prepared(plan: &Plan, n_threads: usize, limits: Limits) -> CpuExecutor {
    let mut team = Team::new(n_threads).unwrap();
    let weights = PackedWeights::load(plan, &RandomWeights::new(plan), &mut team, &|_| ()).unwrap();
    let sizes = TeamSize::fixed(n_threads);
    CpuExecutor::new(plan, Arc::new(weights), team, sizes, IsaKind::best(), limits).unwrap()
}

fn limits(max_tokens: usize, n_pages: usize, kv_dtype: KvDType) -> Limits {
    Limits { max_tokens, max_outputs: max_tokens, n_pages, kv_dtype, ..Limits::one_sequence(0) }
}

fn executor(n_threads: usize) -> CpuExecutor {
    prepared(&testing::decoder(DType::F32), n_threads, limits(8, 4, KvDType::F32))
}

fn logits(executor: &mut CpuExecutor) -> Vec<f32> {
    let batch = StepBatch {
        tokens: &[1, 2, 3].map(TokenId),
        spans: &[Span { n_rows: 3, n_pages: 1, ..Span::default() }],
        page_table: &[PageId(2)],
        outputs: &[OutputRow::logits(2)],
        ..StepBatch::default()
    };
    let mut output = StepOutput::new();
    executor.run(&batch, &mut output).unwrap();
    output.logits(0).to_vec()
}

#[test]
fn steps_may_have_any_number_of_workers() {
    for dtype in [DType::F32, DType::Q8_0, DType::Bf16] {
        for plan in [testing::mixed_decoder(dtype), testing::experts(dtype)] {
            let n_tokens = 40;
            let tokens: Vec<_> = (0..n_tokens).map(|i| TokenId(i * i % 40)).collect();
            let outputs: Vec<_> = (0..n_tokens).map(OutputRow::logits).collect();
            let batch = StepBatch {
                tokens: &tokens,
                spans: &[Span { n_rows: n_tokens, n_pages: 3, ..Span::default() }],
                page_table: &[2, 0, 1].map(PageId),
                outputs: &outputs,
                ..StepBatch::default()
            };
            let limits = limits(n_tokens as usize, 3, KvDType::F16);
            let mut expected = StepOutput::new();
            prepared(&plan, 1, limits).run(&batch, &mut expected).unwrap();
            let mut executor = prepared(&plan, 5, limits);
            for n_workers in [5, 1, 3, 2, 4, 5] {
                executor.memory.arena.prepare_logits().unwrap();
                executor.tables.set(&batch, n_workers).unwrap();
                executor.outputs.clone_from(&outputs);
                executor.submitted = Some(executor.compute(&batch));
                let mut output = StepOutput::new();
                executor.wait(&mut output).unwrap();
                for row in 0..outputs.len() {
                    assert!(
                        output.logits(row) == expected.logits(row),
                        "{dtype}, {n_workers} workers, row {row}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_panic_in_any_worker_leaves_the_executor_usable() {
    for n_threads in 1..=3 {
        let mut executor = executor(n_threads);
        let expected = logits(&mut executor);
        for culprit in 0..n_threads {
            let CpuExecutor { memory, team, workers, tables, program, .. } = &mut executor;
            let result =
                memory.run(team, workers, &tables.shares(), &program.phases, |phase, mut parts, _| {
                    let is_culprit = |access: Access<'_>| phase.op == 5 && access.worker().index() == culprit;
                    assert!(!parts.any(is_culprit), "worker {culprit} fails");
                });
            executor.submitted = Some(result.map(|_| ()).map_err(ExecError::from));
            let message = format!("worker {culprit} fails");
            assert_eq!(
                executor.wait(&mut StepOutput::new()).unwrap_err(),
                ExecError::WorkerPanicked { message }
            );
            assert_eq!(logits(&mut executor), expected);
        }
    }
}

#[test]
fn each_phase_keeps_to_its_footprint() {
    let mut executor = executor(1);
    logits(&mut executor);
    let logits = executor.program.logits.unwrap();
    // The memory of the step before went with its output.
    executor.memory.arena.prepare_logits().unwrap();
    let CpuExecutor { memory, team, workers, tables, program, .. } = &mut executor;
    let first = &program.phases[..1];
    let read = memory.run(team, workers, &tables.shares(), first, |_, parts, _| {
        parts.for_each(|access| assert!(access.read(logits).is_empty()));
    });
    assert!(read.unwrap_err().message.contains("is not read in this phase"));
    let write = memory.run(team, workers, &tables.shares(), first, |_, parts, _| {
        parts.for_each(|access| assert_eq!(access.share(logits).rows(), 0..0));
    });
    assert!(write.unwrap_err().message.contains("is not written in this phase"));
}

#[test]
fn the_shares_of_a_profile_add_up_to_the_time_of_its_steps() {
    for n_threads in 1..=3 {
        let mut executor = executor(n_threads);
        assert_eq!(executor.finish_profile(), None);
        let expected = logits(&mut executor);
        executor.start_profile();
        for _ in 0..4 {
            assert_eq!(logits(&mut executor), expected);
        }
        let profile = executor.finish_profile().unwrap();
        assert_eq!(profile.n_steps, 4);
        assert_eq!(profile.rows.iter().map(|row| row.time).sum::<Duration>(), profile.time);
        assert_eq!(profile.rows.iter().map(|row| row.n_ops).sum::<usize>(), executor.plan.ops.len());
        let names: Vec<&str> = profile.rows.iter().map(|row| row.name.as_str()).collect();
        let expected_names = [
            "embed",
            "norm",
            "linear f32 128 x 64",
            "rope_store",
            "attention",
            "linear f32 64 x 64",
            "gated_linear f32 96 x 64",
            "linear f32 64 x 96",
            "gather_rows",
            "output head f32 40 x 64",
            "start and end of the step",
        ];
        assert_eq!(names, expected_names);
        let head = &profile.rows[9];
        assert_eq!(head.work.float_ops, 4 * 2 * 40 * 64);
        assert!(profile.rows.iter().all(|row| row.waiting <= row.time), "{profile:?}");
        assert!(profile.rows[..10].iter().all(|row| Duration::ZERO < row.time), "{profile:?}");
        let Speed { read_bytes, float_ops, bf16_ops, int8_ops } = profile.speed;
        assert!([read_bytes, float_ops, bf16_ops, int8_ops].iter().all(|speed| 0.0 < *speed), "{profile:?}");
        // Without a clock, nothing is left of the profile.
        assert_eq!(logits(&mut executor), expected);
        assert_eq!(executor.finish_profile(), None);
    }
}

#[test]
fn what_a_plan_takes_is_known_before() {
    let limits = limits(8, 4, KvDType::F16);
    for (n_threads, dtype) in [(1, DType::F32), (2, DType::Q8_0), (3, DType::Q4_0), (2, DType::Bf16)] {
        let (plan, backend) = (testing::decoder(dtype), CpuBackend::new().exact_threads(n_threads));
        let needs = backend.memory_needs(&plan, &limits).unwrap();
        let executor = backend.prepare(&plan, &RandomWeights::new(&plan), limits, &|_| ()).unwrap();
        let ExecutorInfo { weight_bytes, kv_bytes, activation_bytes, .. } = *executor.info();
        assert_eq!(needs, MemoryNeeds { weight_bytes, kv_bytes, activation_bytes }, "{dtype}");
    }
    let too_many = Limits { n_pages: usize::MAX >> 8, ..limits };
    let error = CpuBackend::new().memory_needs(&testing::decoder(DType::F32), &too_many).unwrap_err();
    assert!(error.to_string().contains("n_pages"), "{error}");
}

/// A plan of products that are large enough to be cut into parts for rows of some ten.
fn products(dtype: DType) -> Plan {
    let mut plan = PlanBuilder::new(128);
    let matrix = |plan: &mut PlanBuilder, name: &str, dtype, (rows, cols)| {
        plan.matrix(name, cols, vec![MatrixPart { tensor: name.to_owned(), dtype, rows }])
    };
    let table = matrix(&mut plan, "table", DType::F32, (8, 256));
    let [gate, up] = ["gate", "up"].map(|name| matrix(&mut plan, name, dtype, (352, 256)));
    let down = matrix(&mut plan, "down", dtype, (272, 352));
    let embedded = plan.buffer("embedded", Rows::Tokens, 256);
    let norm = plan.vector("norm", 256, vec!["norm".to_owned()]);
    let x = plan.buffer("x", Rows::Tokens, 256);
    let inner = plan.buffer("inner", Rows::Tokens, 352);
    let y = plan.buffer("y", Rows::Tokens, 272);
    let logits = plan.buffer("logits", Rows::Outputs, 272);
    plan.push(Embed { table, positions: None, scale: 1.0, out: embedded });
    let (kind, store) = (crate::plan::NormKind::Rms, Store::Write);
    plan.push(Norm { x: embedded, kind, weight: norm, bias: None, eps: 1e-6, store, out: x });
    plan.push(GatedLinear { x, gate, up, activation: Activation::Silu, out: inner });
    plan.push(Linear { x: inner, weight: down, bias: None, epilogue: Epilogue::None, store, out: y });
    plan.push(GatherRows { x: y, out: logits });
    plan.finish(logits)
}

/// The logits of rows of one span.
fn all_logits(plan: &Plan, n_rows: usize, n_threads: usize) -> Vec<f32> {
    let mut executor = prepared(plan, n_threads, limits(n_rows, 8, KvDType::F32));
    let tokens: Vec<_> = (0..n_rows as u32).map(|row| TokenId(row % 8)).collect();
    let page_table: Vec<_> = (0..8).map(PageId).collect();
    let outputs: Vec<_> = (0..n_rows as u32).map(OutputRow::logits).collect();
    let spans = &[Span { n_rows: n_rows as u32, n_pages: 8, ..Span::default() }];
    let (tokens, page_table, outputs) = (&tokens[..], &page_table[..], &outputs[..]);
    let mut output = StepOutput::new();
    let batch = StepBatch { tokens, spans, page_table, outputs, ..StepBatch::default() };
    executor.run(&batch, &mut output).unwrap();
    (0..n_rows).flat_map(|row| output.logits(row).to_vec()).collect()
}

#[test]
fn products_are_the_same_in_any_number_of_parts() {
    for dtype in [DType::Q4_0, DType::Q8_0, DType::F16] {
        let plan = products(dtype);
        for n_rows in [1, 9, 70] {
            let expected = all_logits(&plan, n_rows, 1);
            assert!(expected.iter().all(|value| value.is_finite() && *value != 0.0));
            for n_threads in 2..=4 {
                assert_eq!(all_logits(&plan, n_rows, n_threads), expected, "{dtype}, {n_rows} rows");
            }
        }
    }
}
