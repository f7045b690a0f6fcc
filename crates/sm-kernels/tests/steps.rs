//! What the CPU executor promises for whole steps.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/sequences.rs"]
mod sequences;

use std::ops::Range;

use proptest::prelude::*;
use sm_kernels::plan::{
    Backend, ExecError, Executor, KeptState, KvDType, Limits, OutputRow, Plan, Progress, Span, StateSpan,
    StepBatch, StepOutput, Wanted, WeightError, WeightSource,
};
use sm_kernels::testing::{self, RandomWeights};
use sm_kernels::{CpuBackend, IsaKind};
use sm_tensor::{DType, PageId, StateSlot, TokenId};

use sequences::{Sequence, alone, limits, step};

/// How weights, and how keys and values are stored.
type Formats = (DType, KvDType);

const FORMATS: [Formats; 4] = [
    (DType::F32, KvDType::F16),
    (DType::Bf16, KvDType::F32),
    (DType::Q8_0, KvDType::Q8_0),
    (DType::Q4_0, KvDType::F16),
];

fn executor(formats: Formats, n_threads: usize, isa: IsaKind) -> Box<dyn Executor> {
    executor_of(testing::decoder, formats, n_threads, isa)
}

/// Makes a plan with matrices of a data type.
type MakePlan = fn(DType) -> Plan;

fn executor_of(
    plan: MakePlan,
    (dtype, kv_dtype): Formats,
    n_threads: usize,
    isa: IsaKind,
) -> Box<dyn Executor> {
    let plan = plan(dtype);
    let weights = RandomWeights::new(&plan);
    let limits = Limits { kv_dtype, ..limits() };
    CpuBackend::new().exact_threads(n_threads).isa(isa).prepare(&plan, &weights, limits, &|_| ()).unwrap()
}

#[test]
fn steps_are_the_same_to_the_bit_on_every_instruction_set_and_team() {
    for plan in [testing::decoder, testing::mixed_decoder] as [MakePlan; 2] {
        for formats in FORMATS {
            let expected = alone(&mut *executor_of(plan, formats, 1, IsaKind::Scalar), 1, 300, 96);
            let finite = expected.iter().flatten().all(|bits| f32::from_bits(*bits).is_finite());
            assert!(finite && expected[299] != expected[298], "{formats:?}");
            for isa in IsaKind::available() {
                for n_threads in [1, 2, 3, 4] {
                    let actual = alone(&mut *executor_of(plan, formats, n_threads, isa), 1, 300, 96);
                    assert!(actual == expected, "{formats:?} {isa} {n_threads} threads");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn a_sequence_is_the_same_alone_and_among_others_in_chunks_of_any_size(
        lengths in prop::collection::vec(1_usize..330, 1..5),
        rows in prop::collection::vec(prop::collection::vec(0_usize..60, 4), 1..12),
        n_threads in prop::sample::select(vec![1_usize, 2, 4]),
        formats in prop::sample::select(FORMATS.to_vec()),
        plan in prop::sample::select(vec![testing::decoder as MakePlan, testing::mixed_decoder]),
    ) {
        let mut mixed = executor_of(plan, formats, n_threads, IsaKind::best());
        let count = lengths.len();
        let sequence = |(index, &n_tokens)| Sequence::new(index, n_tokens, index, count);
        let mut sequences: Vec<_> = lengths.iter().enumerate().map(sequence).collect();
        for rows in rows.iter().cycle().take(200) {
            step(&mut *mixed, &mut sequences, rows);
        }
        let mut lone = executor_of(plan, formats, 2, IsaKind::best());
        for (seed, sequence) in sequences.iter().enumerate() {
            let expected = alone(&mut *lone, seed, sequence.tokens.len(), 96);
            prop_assert!(sequence.logits[..] == expected[..sequence.logits.len()], "sequence {seed}");
        }
    }
}

/// Changes a good batch of two spans, of 20 rows from position 5 and of 1 row from position 30.
type Change = fn(&mut Parts);

struct Parts {
    tokens: Vec<TokenId>,
    spans: Vec<Span>,
    page_table: Vec<PageId>,
    outputs: Vec<OutputRow>,
}

fn good_parts() -> Parts {
    let span = |first_row, n_rows, start, first_page| Span {
        first_row,
        n_rows,
        start,
        first_page,
        n_pages: 2,
        ..Span::default()
    };
    Parts {
        tokens: vec![TokenId(1); 21],
        spans: vec![span(0, 20, 5, 0), span(20, 1, 30, 2)],
        page_table: [7, 3, 9, 5].map(PageId).to_vec(),
        outputs: [19, 20].map(OutputRow::logits).to_vec(),
    }
}

#[test]
fn invalid_batches_are_refused_with_the_numbers() {
    let cases: &[(&str, Change)] = &[
        ("it has no tokens", |parts| parts.tokens.clear()),
        ("97 tokens, but the executor was prepared for 96", |parts| parts.tokens = vec![TokenId(0); 97]),
        ("9 spans, but the executor was prepared for 8", |parts| parts.spans = vec![parts.spans[0]; 9]),
        ("97 outputs, but the executor was prepared for 96", |parts| {
            parts.outputs = vec![OutputRow::logits(0); 97];
        }),
        ("token id 40 but the vocabulary has 40", |parts| parts.tokens[20] = TokenId(40)),
        ("output row 19 follows 19: they must ascend", |parts| parts.outputs[1].row = 19),
        ("output row 21 of 21 rows", |parts| parts.outputs[1].row = 21),
        ("the 0 largest logits of row 20", |parts| parts.outputs[1].wanted = Wanted::TopK(0)),
        ("span 1 names a state, but the plan has none", |parts| {
            parts.spans[1].state =
                Some(StateSpan { read: None, write: StateSlot(0), first_kept: 0, n_kept: 0 });
        }),
        ("span 1 has 1 rows from row 19, after 20 rows", |parts| parts.spans[1].first_row = 19),
        ("span 1 has 0 rows from row 20, after 20 rows", |parts| parts.spans[1].n_rows = 0),
        ("span 1 ends at position 601, but the context is 600", |parts| parts.spans[1].start = 600),
        ("span 1 ends at position 4294967296, but", |parts| parts.spans[1].start = u32::MAX),
        ("span 0 has 1 pages for 25 positions", |parts| parts.spans[0].n_pages = 1),
        ("span 1 has 2 pages from 3, but the page table has 4", |parts| parts.spans[1].first_page = 3),
        ("span 1 names page 120, but the pool has 120", |parts| parts.page_table[2] = PageId(120)),
        ("span 1 writes page 3, which the step writes already", |parts| parts.page_table[3] = PageId(3)),
        ("the spans have 20 rows for 21 tokens", |parts| parts.spans.truncate(1)),
    ];
    let mut executor = executor((DType::F32, KvDType::F16), 2, IsaKind::best());
    let mut output = StepOutput::new();
    for (expected, change) in cases {
        let mut parts = good_parts();
        change(&mut parts);
        let Parts { tokens, spans, page_table, outputs } = &parts;
        let batch = StepBatch { tokens, spans, page_table, outputs, ..StepBatch::default() };
        let error = executor.submit(&batch).unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, ExecError::InvalidBatch { .. }) && message.contains(expected), "{message}");
        assert_eq!(executor.wait(&mut output).unwrap_err(), ExecError::OutOfTurn);
    }
    let Parts { tokens, spans, page_table, outputs } = &good_parts();
    let batch = StepBatch { tokens, spans, page_table, outputs, ..StepBatch::default() };
    let kept_states = &[KeptState { position: 20, slot: StateSlot(3) }];
    let error = executor.submit(&StepBatch { kept_states, ..batch }).unwrap_err().to_string();
    assert!(error.contains("the spans keep 0 states, but 1 are listed"), "{error}");
    let error = executor.submit(&StepBatch { input: Some(&[0.5; 21]), ..batch }).unwrap_err().to_string();
    assert!(error.contains("it has an input, but the plan reads none"), "{error}");
    executor.submit(&batch).unwrap();
    assert_eq!(executor.submit(&batch).unwrap_err(), ExecError::OutOfTurn);
    executor.wait(&mut output).unwrap();
    assert_eq!(output.n_outputs(), 2);
}

#[test]
fn copied_pages_hold_the_same_context() {
    let mut executor = executor((DType::Q8_0, KvDType::F16), 2, IsaKind::best());
    let expected = alone(&mut *executor, 3, 40, 96);
    let mut forked = [Sequence::new(3, 40, 0, 1)];
    step(&mut *executor, &mut forked, &[33]);
    let copies: Vec<_> = forked[0].pages.iter().map(|page| (*page, PageId(page.0 - 50))).collect();
    executor.copy_pages(&copies).unwrap();
    forked[0].pages = copies.iter().map(|copy| copy.1).collect();
    step(&mut *executor, &mut forked, &[7]);
    assert!(forked[0].logits == expected);
    let error = executor.copy_pages(&[(PageId(0), PageId(120))]).unwrap_err();
    assert!(error.to_string().contains("page 120 is copied, but the pool has 120"));
}

#[test]
fn pages_that_are_read_and_written_back_hold_the_same_context() {
    let mut first = executor((DType::Q8_0, KvDType::Q8_0), 2, IsaKind::best());
    let expected = alone(&mut *first, 3, 40, 96);
    let mut sequence = [Sequence::new(3, 40, 0, 1)];
    step(&mut *first, &mut sequence, &[33]);
    assert_eq!(first.page_bytes() * 120, first.info().kv_bytes);
    let mut bytes = vec![0; first.page_bytes() * sequence[0].pages.len()];
    let mut second = executor((DType::Q8_0, KvDType::Q8_0), 3, IsaKind::best());
    let mut moved = sequence[0].pages.clone();
    moved.iter_mut().for_each(|page| page.0 -= 50);
    first.read_pages(&sequence[0].pages, &mut bytes).unwrap();
    second.write_pages(&moved, &bytes).unwrap();
    sequence[0].pages = moved;
    step(&mut *second, &mut sequence, &[7]);
    assert!(sequence[0].logits == expected);
    for (error, part) in [
        (first.read_pages(&[PageId(120)], &mut bytes), "page 120 is copied, but the pool has 120"),
        (first.write_pages(&[PageId(120)], &bytes), "page 120 is copied, but the pool has 120"),
        (first.read_pages(&[PageId(0)], &mut [0; 3]), "but 3 bytes are to be copied"),
        (first.write_pages(&[PageId(0); 2], &bytes), "2 pages of"),
    ] {
        assert!(error.unwrap_err().to_string().contains(part));
    }
}

#[test]
fn what_pages_held_before_never_shows() {
    let mut executor = executor((DType::F32, KvDType::F16), 2, IsaKind::best());
    let expected = alone(&mut *executor, 3, 40, 7);
    // A token that the sequence lacks leaves NaN in the pages, and in its own logit.
    let tokens = Sequence::new(3, 40, 0, 1).tokens;
    let unused = (0..testing::VOCAB_SIZE).find(|id| !tokens.contains(&TokenId(*id as u32))).unwrap();
    let plan = testing::decoder(DType::F32);
    let mut weights = RandomWeights::new(&plan);
    weights.fill_row("table.0", unused, f32::NAN);
    let mut poisoned =
        CpuBackend::new().exact_threads(2).prepare(&plan, &weights, limits(), &|_| ()).unwrap();
    for n_rows in 1..8 {
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
    // Nor does what follows in the same tile of rows.
    let mut followed = [Sequence::new(3, 40, 0, 1)];
    followed[0].tokens.truncate(29);
    followed[0].tokens.extend([TokenId(unused as u32); 11]);
    step(&mut *poisoned, &mut followed, &[40]);
    for (actual, expected) in followed[0].logits[..29].iter().zip(&expected) {
        assert!(actual[..unused] == expected[..unused] && actual[unused + 1..] == expected[unused + 1..]);
    }
}

#[test]
fn what_cannot_be_prepared_is_refused() {
    let plan = testing::decoder(DType::F32);
    let weights = RandomWeights::new(&plan);
    let refuse = |backend: CpuBackend, limits: Limits, expected: &str| {
        let error = backend.prepare(&plan, &weights, limits, &|_| ()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let backend = CpuBackend::new();
    refuse(backend.threads(0), limits(), "invalid limit n_threads = 0: must be from 1 to 64");
    refuse(backend.threads(65), limits(), "invalid limit n_threads = 65");
    refuse(backend, Limits { max_tokens: 0, ..limits() }, "invalid limit max_tokens = 0");
    refuse(backend, Limits { max_outputs: 97, ..limits() }, "invalid limit max_outputs = 97");
    refuse(backend, Limits { max_sequences: 0, ..limits() }, "invalid limit max_sequences = 0");
    refuse(
        backend,
        Limits { n_pages: usize::MAX, ..limits() },
        "invalid limit n_pages = 18446744073709551615",
    );
    refuse(backend, Limits { n_pages: u32::MAX as usize / 2, ..limits() }, "the KV pool needs");
    let other = testing::experts(DType::F32);
    let error = backend.prepare(&other, &weights, limits(), &|_| ()).unwrap_err().to_string();
    assert!(error.contains("no tensor \"router.0\""), "{error}");
}

/// Delivers all but one tensor, and panics over that.
struct Panicking(RandomWeights);

impl WeightSource for Panicking {
    fn matrix_rows<'a>(
        &'a self,
        tensor: &str,
        rows: Range<usize>,
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], WeightError> {
        assert!(tensor != "gate.1.0", "a bad day");
        self.0.matrix_rows(tensor, rows, buffer)
    }

    fn vector(&self, tensor: &str) -> Result<Vec<f32>, WeightError> {
        self.0.vector(tensor)
    }
}

#[test]
fn a_source_that_panics_is_an_error_that_names_the_matrix() {
    let plan = testing::decoder(DType::Q8_0);
    let source = Panicking(RandomWeights::new(&plan));
    for n_threads in [1, 3] {
        let prepared = CpuBackend::new().exact_threads(n_threads).prepare(&plan, &source, limits(), &|_| ());
        let error = prepared.unwrap_err().to_string();
        assert!(error.contains("gate.1") && error.contains("packing it failed: a bad day"), "{error}");
    }
}

#[test]
fn progress_ends_at_the_total() {
    let plan = testing::decoder(DType::Q4_0);
    let seen = std::sync::Mutex::new(Vec::new());
    let note = |progress: Progress| seen.lock().unwrap().push((progress.done_bytes, progress.total_bytes));
    let executor = CpuBackend::new()
        .exact_threads(2)
        .prepare(&plan, &RandomWeights::new(&plan), limits(), &note)
        .unwrap();
    let seen = seen.into_inner().unwrap();
    assert!(seen.is_sorted() && seen[0].0 == 0 && seen.last().unwrap().0 == seen[0].1, "{seen:?}");
    let info = executor.info();
    assert_eq!((info.n_workers, info.kernels.as_str()), (2, &*format!("cpu {}", IsaKind::best())));
    assert!(info.weight_bytes != 0 && info.kv_bytes != 0 && info.activation_bytes != 0);
}
