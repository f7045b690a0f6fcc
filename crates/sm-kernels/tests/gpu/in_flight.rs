//! Two steps in flight.

use sm_kernels::plan::{ExecError, Executor, OutputRow, PAGE_LEN, Span, StepBatch, StepOutput, Wanted};
use sm_kernels::testing::{self, RandomWeights};
use sm_tensor::{DType, PageId, TokenId};

use crate::sequences::limits;
use crate::{gpu, prepare};

const PAGES: [PageId; 4] = [PageId(9), PageId(3), PageId(5), PageId(4)];
const N_PROMPTED: u32 = 12;
const N_STEPS: u32 = PAGE_LEN as u32;

/// Rows of two sequences of two pages each, from a position on.
fn spans(start: u32, n_rows: u32) -> [Span; 2] {
    [0, 1].map(|index| Span {
        first_row: index * n_rows,
        n_rows,
        start,
        first_page: 2 * index,
        n_pages: 2,
        ..Span::default()
    })
}

fn prompts() -> Vec<TokenId> {
    (0..2 * N_PROMPTED).map(|at| TokenId((at * 7 + 3) % testing::VOCAB_SIZE as u32)).collect()
}

fn batch<'a>(tokens: &'a [TokenId], spans: &'a [Span], outputs: &'a [OutputRow]) -> StepBatch<'a> {
    StepBatch { tokens, spans, page_table: &PAGES, outputs, ..StepBatch::default() }
}

fn outputs(rows: [u32; 2], wanted: Wanted) -> [OutputRow; 2] {
    rows.map(|row| OutputRow { row, wanted })
}

fn picked(output: &StepOutput) -> Vec<(TokenId, u32)> {
    (0..2).map(|row| output.arg_max(row)).map(|(token, logit)| (token, logit.to_bits())).collect()
}

/// What greedy decoding gives, step by step, when the host sends the tokens.
fn one_by_one(executor: &mut dyn Executor) -> Vec<Vec<(TokenId, u32)>> {
    let mut output = StepOutput::new();
    let last = outputs([N_PROMPTED - 1, 2 * N_PROMPTED - 1], Wanted::ArgMax);
    executor.run(&batch(&prompts(), &spans(0, N_PROMPTED), &last), &mut output).unwrap();
    let mut steps = vec![picked(&output)];
    for step in 0..N_STEPS {
        let tokens: Vec<_> = steps[step as usize].iter().map(|(token, _)| *token).collect();
        let each = outputs([0, 1], Wanted::ArgMax);
        executor.run(&batch(&tokens, &spans(N_PROMPTED + step, 1), &each), &mut output).unwrap();
        steps.push(picked(&output));
    }
    steps
}

#[test]
fn steps_with_tokens_that_the_device_found_are_those_with_tokens_of_the_host() {
    let Some(backend) = gpu() else { return };
    let plan = testing::decoder(DType::Q8_0);
    let prepare = || prepare(&backend, &plan, &RandomWeights::new(&plan), limits());
    let expected = one_by_one(&mut *prepare());
    let mut executor = prepare();
    assert_eq!(executor.max_in_flight(), 2);
    let mut output = StepOutput::new();
    let last = outputs([N_PROMPTED - 1, 2 * N_PROMPTED - 1], Wanted::ArgMax);
    executor.submit(&batch(&prompts(), &spans(0, N_PROMPTED), &last)).unwrap();
    let each = outputs([0, 1], Wanted::ArgMax);
    for step in 0..N_STEPS {
        let spans = spans(N_PROMPTED + step, 1);
        let next = batch(&[TokenId(0); 2], &spans, &each);
        executor.submit_next(&next).unwrap();
        assert_eq!(executor.submit_next(&next), Err(ExecError::OutOfTurn));
        executor.wait(&mut output).unwrap();
        assert_eq!(picked(&output), expected[step as usize], "step {step}");
    }
    executor.wait(&mut output).unwrap();
    assert_eq!(picked(&output), expected[N_STEPS as usize]);
    assert_eq!(executor.wait(&mut output), Err(ExecError::OutOfTurn));
}

#[test]
fn only_a_step_whose_arg_max_was_wanted_has_a_next_one() {
    let Some(backend) = gpu() else { return };
    let plan = testing::decoder(DType::F32);
    let mut executor = prepare(&backend, &plan, &RandomWeights::new(&plan), limits());
    let mut output = StepOutput::new();
    let (spans, each) = (spans(0, 1), outputs([0, 1], Wanted::ArgMax));
    let next = batch(&[TokenId(0); 2], &spans, &each);
    assert_eq!(executor.submit_next(&next), Err(ExecError::OutOfTurn));
    let all = outputs([0, 1], Wanted::Logits);
    executor.submit(&batch(&[TokenId(1), TokenId(2)], &spans, &all)).unwrap();
    assert_eq!(executor.submit_next(&next), Err(ExecError::OutOfTurn));
    executor.wait(&mut output).unwrap();
    executor.submit(&batch(&[TokenId(1)], &spans[..1], &each[..1])).unwrap();
    assert_eq!(executor.submit_next(&next), Err(ExecError::OutOfTurn));
    executor.wait(&mut output).unwrap();
    assert_eq!(output.n_outputs(), 1);
}
