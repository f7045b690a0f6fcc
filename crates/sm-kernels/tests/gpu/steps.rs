//! Whole steps of small decoders.

use proptest::prelude::*;
use sm_kernels::plan::{
    Backend, Executor, KvDType, Limits, OutputRow, Plan, Span, SplitBackend, StepBatch, StepOutput, Wanted,
};
use sm_kernels::testing::{self, RandomWeights};
use sm_kernels::{CpuBackend, Restriction};
use sm_tensor::{DType, PageId, TokenId};

use crate::sequences::{N_PAGES, Sequence, alone, limits, step};
use crate::{assert_close, gpu, prepare, restricted_gpu, trace};

/// Makes a plan with matrices of a data type.
type MakePlan = fn(DType) -> Plan;

const PLANS: [MakePlan; 3] = [testing::decoder, testing::mixed_decoder, testing::experts];
const FORMATS: [(DType, KvDType); 4] = [
    (DType::F32, KvDType::F16),
    (DType::Bf16, KvDType::F32),
    (DType::Q8_0, KvDType::F16),
    (DType::Q4_0, KvDType::Q8_0),
];

fn executor(backend: &dyn Backend, plan: MakePlan, (dtype, kv_dtype): (DType, KvDType)) -> Box<dyn Executor> {
    let plan = plan(dtype);
    prepare(backend, &plan, &RandomWeights::new(&plan), Limits { kv_dtype, ..limits() })
}

#[test]
fn a_sequence_is_the_same_alone_and_among_others_in_chunks_of_any_size() {
    let Some(backend) = gpu() else { return };
    let cases = (
        prop::collection::vec(1_usize..330, 1..5),
        prop::collection::vec(prop::collection::vec(0_usize..60, 4), 1..12),
        prop::sample::select(FORMATS.to_vec()),
        prop::sample::select(PLANS.to_vec()),
    );
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(12));
    let check = |(lengths, rows, formats, plan): (Vec<usize>, Vec<Vec<usize>>, _, MakePlan)| {
        let mut mixed = executor(&backend, plan, formats);
        let count = lengths.len();
        let sequences = lengths.iter().enumerate();
        let mut sequences: Vec<_> =
            sequences.map(|(index, &n_tokens)| Sequence::new(index, n_tokens, index, count)).collect();
        for rows in rows.iter().cycle().take(40) {
            step(&mut *mixed, &mut sequences, rows);
        }
        let mut lone = executor(&backend, plan, formats);
        for (seed, sequence) in sequences.iter().enumerate() {
            let expected = alone(&mut *lone, seed, sequence.computed.max(1), 96);
            prop_assert!(sequence.logits[..] == expected[..sequence.logits.len()], "sequence {seed}");
        }
        Ok(())
    };
    runner.run(&cases, check).unwrap();
}

#[test]
fn a_plain_device_is_near_and_as_reproducible() {
    // Products of halves are not as near.
    let Some(backend) = restricted_gpu(Restriction { matrices: false, ..Restriction::NONE }) else { return };
    for (plan, formats) in PLANS.into_iter().zip(FORMATS.into_iter().skip(1)) {
        let restriction = Restriction { int8: formats.0 != DType::Q8_0, ..Restriction::PLAIN };
        let Some(plain) = restricted_gpu(restriction) else { return };
        let values =
            |rows: &[Vec<u32>]| -> Vec<f32> { rows.concat().into_iter().map(f32::from_bits).collect() };
        let expected = alone(&mut *executor(&backend, plan, formats), 5, 300, 96);
        let mut plain = executor(&plain, plan, formats);
        let actual = alone(&mut *plain, 5, 300, 96);
        // Blocks of int8 have steps of 1/127 of their largest value.
        let tolerance = if formats.0 == DType::Bf16 { 1e-5 } else { 0.05 };
        assert_close(
            &format!("{formats:?}"),
            &values(&actual),
            &values(&expected),
            expected[0].len(),
            tolerance,
        );
        for chunk in [1, 7] {
            assert!(alone(&mut *plain, 5, 40, chunk) == actual[..40], "{formats:?}: {chunk} rows at a time");
        }
    }
}

#[test]
fn layers_on_cpu_and_gpu_have_the_bits_of_each() {
    let Some(backend) = gpu() else { return };
    let plan = testing::mixed_decoder(DType::Q8_0);
    let weights = RandomWeights::new(&plan);
    let cpu = CpuBackend::new().exact_threads(2);
    let on_cpu = trace(&mut *prepare(&cpu, &plan, &weights, limits()), 20, None);
    let n_layers = plan.layer_starts.len();
    for layer in 1..n_layers {
        let split = SplitBackend::new(Box::new(cpu), Box::new(backend.clone()), n_layers - layer);
        let actual = trace(&mut *prepare(&split, &plan, &weights, limits()), 20, None);
        let (before, after) = actual.split_at(plan.layer_starts[layer]);
        assert!(before == &on_cpu[..before.len()], "before layer {layer}");
        // The last op of a layer adds to the residual.
        let residual = before.last().unwrap();
        let (_, second) = plan.split(layer).unwrap();
        let on_gpu = trace(&mut *prepare(&backend, &second, &weights, limits()), 20, Some(residual));
        assert!(after == &on_gpu[1..], "from layer {layer} on");
    }
}

#[test]
fn copied_pages_and_pages_written_back_hold_the_same_context() {
    let Some(backend) = gpu() else { return };
    let formats = (DType::Q8_0, KvDType::Q8_0);
    let mut first = executor(&backend, testing::decoder, formats);
    let expected = alone(&mut *first, 3, 40, 96);
    let mut sequence = [Sequence::new(3, 40, 0, 1)];
    step(&mut *first, &mut sequence, &[33]);
    assert_eq!(first.page_bytes() * N_PAGES, first.info().kv_bytes);
    let copies: Vec<_> = sequence[0].pages.iter().map(|page| (*page, PageId(page.0 - 50))).collect();
    first.copy_pages(&copies).unwrap();
    let copied: Vec<_> = copies.iter().map(|copy| copy.1).collect();
    let mut bytes = vec![0; first.page_bytes() * copied.len()];
    first.read_pages(&copied, &mut bytes).unwrap();
    let mut second = executor(&backend, testing::decoder, formats);
    sequence[0].pages = copied.iter().map(|page| PageId(page.0 - 20)).collect();
    second.write_pages(&sequence[0].pages, &bytes).unwrap();
    step(&mut *second, &mut sequence, &[7]);
    assert!(sequence[0].logits == expected);
    for (error, part) in [
        (first.copy_pages(&[(PageId(0), PageId(120))]), "page 120 is copied, but the pool has 120"),
        (first.read_pages(&[PageId(120)], &mut bytes), "page 120 is copied, but the pool has 120"),
        (first.read_pages(&[PageId(0)], &mut [0; 3]), "but 3 bytes are to be copied"),
        (first.write_pages(&[PageId(0); 2], &bytes), "2 pages of"),
    ] {
        assert!(error.unwrap_err().to_string().contains(part));
    }
}

#[test]
fn stored_keys_and_values_are_nearly_those_computed() {
    let Some(backend) = gpu() else { return };
    let run =
        |kv_dtype| alone(&mut *executor(&backend, testing::mixed_decoder, (DType::F32, kv_dtype)), 2, 90, 96);
    let exact = run(KvDType::F32);
    // Half a unit in the last place of a stored value, for keys and for values of four layers, and twice as much through softmax.
    for (kv_dtype, tolerance) in [(KvDType::F16, 16.0 / 2048.0), (KvDType::Q8_0, 16.0 / 254.0)] {
        let mut worst = 0.0_f32;
        for (actual, exact) in run(kv_dtype).iter().zip(&exact) {
            let [actual, exact] =
                [actual, exact].map(|row| row.iter().map(|bits| f32::from_bits(*bits)).collect::<Vec<_>>());
            let largest = exact.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
            let differences = actual.iter().zip(&exact).map(|(a, e)| (a - e).abs() / largest);
            worst = differences.fold(worst, f32::max);
        }
        assert!(0.0 < worst && worst < tolerance, "{kv_dtype:?}: {worst}");
    }
}

#[test]
fn what_pages_held_before_never_shows() {
    let Some(backend) = gpu() else { return };
    let mut executor = executor(&backend, testing::decoder, (DType::F32, KvDType::F16));
    let expected = alone(&mut *executor, 3, 40, 7);
    // A token that the sequence lacks leaves NaN in the pages, and in its own logit.
    let tokens = Sequence::new(3, 40, 0, 1).tokens;
    let unused = (0..testing::VOCAB_SIZE).find(|id| !tokens.contains(&TokenId(*id as u32))).unwrap();
    let plan = testing::decoder(DType::F32);
    let mut weights = RandomWeights::new(&plan);
    weights.fill_row("table.0", unused, f32::NAN);
    let mut poisoned = prepare(&backend, &plan, &weights, limits());
    for n_rows in [1, 3, 7, 20] {
        let mut nan = [Sequence::new(0, 48, 0, 1)];
        nan[0].tokens.fill(TokenId(unused as u32));
        step(&mut *poisoned, &mut nan, &[48]);
        assert!(nan[0].logits.iter().flatten().all(|bits| f32::from_bits(*bits).is_nan()));
        for (actual, expected) in alone(&mut *poisoned, 3, 40, n_rows).iter().zip(&expected) {
            assert!(
                actual[..unused] == expected[..unused] && actual[unused + 1..] == expected[unused + 1..],
                "{n_rows} rows at a time"
            );
        }
    }
}

#[test]
fn rows_give_what_is_wanted_of_them() {
    let Some(backend) = gpu() else { return };
    let mut executor = executor(&backend, testing::decoder, (DType::F32, KvDType::F16));
    let all = alone(&mut *executor, 0, 20, 20);
    let kinds = [Wanted::Logits, Wanted::ArgMax, Wanted::TopK(3), Wanted::Hidden, Wanted::TopK(99)];
    let sequence = Sequence::new(0, 20, 0, 1);
    for first in 0..kinds.len() {
        let wanted = |row: usize| kinds[(first + row) % kinds.len()];
        let rows: Vec<usize> = (0..20).filter(|row| row % 3 != 1).collect();
        let outputs: Vec<_> =
            rows.iter().map(|&row| OutputRow { row: row as u32, wanted: wanted(row) }).collect();
        let batch = StepBatch {
            tokens: &sequence.tokens,
            spans: &[Span { n_rows: 20, n_pages: 2, ..Span::default() }],
            page_table: &sequence.pages,
            outputs: &outputs,
            ..StepBatch::default()
        };
        let mut output = StepOutput::new();
        executor.run(&batch, &mut output).unwrap();
        assert_eq!(output.n_outputs(), rows.len());
        for (index, &row) in rows.iter().enumerate() {
            let logits: Vec<f32> = all[row].iter().map(|bits| f32::from_bits(*bits)).collect();
            let mut expected = StepOutput::new();
            match wanted(row) {
                Wanted::Hidden => assert_eq!(output.hidden(index).len(), 64),
                kind => expected.push_logits(kind, &logits),
            }
            match wanted(row) {
                Wanted::ArgMax => assert_eq!(output.arg_max(index), expected.arg_max(0)),
                Wanted::TopK(_) => {
                    assert_eq!(output.top(index), expected.top(0));
                    let difference = output.log_sum_exp(index) - expected.log_sum_exp(0);
                    assert!(difference.abs() < 64.0 * f64::from(f32::EPSILON), "{difference}");
                }
                Wanted::Logits => assert_eq!(output.logits(index), logits),
                _ => {}
            }
        }
    }
}

#[test]
fn what_is_found_on_the_device_is_that_of_the_logits() {
    let Some(backend) = gpu() else { return };
    let plan = testing::decoder(DType::F32);
    let mut weights = RandomWeights::new(&plan);
    // Equal logits for two pairs of tokens, and NaN for a token.
    for (value, rows) in [(0.3, [5, 9]), (-0.3, [2, 30])] {
        rows.iter().for_each(|row| weights.fill_row("table.0", *row, value));
    }
    for nan in [None, Some(33)] {
        nan.iter().for_each(|row| weights.fill_row("table.0", *row, f32::NAN));
        let mut executor = prepare(&backend, &plan, &weights, limits());
        let mut sequence = Sequence::new(0, 20, 0, 1);
        sequence.tokens.iter_mut().filter(|token| token.0 == 33).for_each(|token| token.0 = 1);
        let mut run = |wanted| {
            let outputs: Vec<_> = (0..20).map(|row| OutputRow { row, wanted }).collect();
            let batch = StepBatch {
                tokens: &sequence.tokens,
                spans: &[Span { n_rows: 20, n_pages: 2, ..Span::default() }],
                page_table: &sequence.pages,
                outputs: &outputs,
                ..StepBatch::default()
            };
            let mut output = StepOutput::new();
            executor.run(&batch, &mut output).unwrap();
            output
        };
        let (picked, all) = (run(Wanted::ArgMax), run(Wanted::Logits));
        for k in [1, 2, 3, 7, testing::VOCAB_SIZE, 99] {
            let found = run(Wanted::TopK(k as u32));
            for row in 0..20 {
                let mut expected = StepOutput::new();
                expected.push_logits(Wanted::TopK(k as u32), all.logits(row));
                let bits = |output: &StepOutput, row| -> Vec<_> {
                    output.top(row).iter().map(|(token, logit)| (*token, logit.to_bits())).collect()
                };
                assert_eq!(bits(&found, row), bits(&expected, 0), "the first {k} of row {row}");
                let difference = found.log_sum_exp(row) - expected.log_sum_exp(0);
                let is_right = difference.abs() < 1e-5 || (difference.is_nan() && nan.is_some());
                assert!(is_right, "the first {k} of row {row}: {difference}");
            }
        }
        for row in 0..20 {
            let mut expected = StepOutput::new();
            expected.push_logits(Wanted::ArgMax, all.logits(row));
            let bits = |(token, logit): (TokenId, f32)| (token, logit.to_bits());
            assert_eq!(bits(picked.arg_max(row)), bits(expected.arg_max(0)), "row {row}");
            assert!(nan.is_none_or(|nan| picked.arg_max(row).0.0 as usize == nan));
        }
    }
}

#[test]
fn executors_of_one_device_run_on_several_threads() {
    let Some(backend) = gpu() else { return };
    let formats = (DType::Q8_0, KvDType::F16);
    let expected = alone(&mut *executor(&backend, testing::decoder, formats), 1, 60, 1);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let mut own = executor(&backend, testing::decoder, formats);
            let expected = &expected;
            scope.spawn(move || assert!(alone(&mut *own, 1, 60, 1) == *expected));
        }
    });
}

#[test]
fn hidden_states_alone_are_those_beside_logits() {
    let Some(backend) = gpu() else { return };
    let mut executor = executor(&backend, testing::decoder, (DType::F32, KvDType::F16));
    let sequence = Sequence::new(0, 20, 0, 1);
    let mut run = |outputs: &[OutputRow]| {
        let batch = StepBatch {
            tokens: &sequence.tokens,
            spans: &[Span { n_rows: 20, n_pages: 2, ..Span::default() }],
            page_table: &sequence.pages,
            outputs,
            ..StepBatch::default()
        };
        let mut output = StepOutput::new();
        executor.run(&batch, &mut output).unwrap();
        let last = output.n_outputs() - 1;
        output.hidden(last).to_vec()
    };
    let hidden = OutputRow { row: 19, wanted: Wanted::Hidden };
    assert_eq!(run(&[hidden]), run(&[OutputRow::logits(3), hidden]));
}
