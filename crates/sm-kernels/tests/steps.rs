//! What the CPU executor promises for whole steps.

use proptest::prelude::*;
use sm_kernels::plan::{Backend, Executor, KvDType, Limits, PAGE_LEN, Span, StepBatch};
use sm_kernels::testing::{self, RandomWeights};
use sm_kernels::{CpuBackend, IsaKind};
use sm_tensor::{DType, PageId, TokenId};

const N_PAGES: usize = 120;

fn limits() -> Limits {
    Limits { max_tokens: 96, max_outputs: 96, max_sequences: 8, n_pages: N_PAGES, kv_dtype: KvDType::F16 }
}

fn executor(dtype: DType, n_threads: usize, isa: IsaKind) -> Box<dyn Executor> {
    let plan = testing::decoder(dtype);
    let weights = RandomWeights::new(&plan);
    CpuBackend::new().threads(n_threads).isa(isa).prepare(&plan, &weights, limits(), &|_| ()).unwrap()
}

/// A sequence with its pages, somewhere in the pool.
struct Sequence {
    tokens: Vec<TokenId>,
    pages: Vec<PageId>,
    computed: usize,
    logits: Vec<Vec<u32>>,
}

impl Sequence {
    /// The `index`th of `count` sequences; its pages lie between those of the others, backwards.
    fn new(seed: usize, n_tokens: usize, (index, count): (usize, usize)) -> Self {
        let tokens =
            (0..n_tokens).map(|i| TokenId(((i * i * 7 + i * 3 + seed * 13) % testing::VOCAB_SIZE) as u32));
        let n_pages = n_tokens.div_ceil(PAGE_LEN);
        let pages = (0..n_pages).map(|page| PageId((N_PAGES - 1 - page * count - index) as u32));
        Self { tokens: tokens.collect(), pages: pages.collect(), computed: 0, logits: Vec::new() }
    }
}

/// Runs one step with up to `rows[i]` rows of sequence `i`; all rows give logits.
fn step(executor: &mut dyn Executor, sequences: &mut [Sequence], rows: &[usize]) {
    let (mut tokens, mut spans, mut page_table) = (Vec::new(), Vec::new(), Vec::new());
    let mut taken = Vec::new();
    for (sequence, &rows) in sequences.iter().zip(rows) {
        let rows =
            rows.min(sequence.tokens.len() - sequence.computed).min(limits().max_tokens - tokens.len());
        taken.push(rows);
        if rows == 0 {
            continue;
        }
        spans.push(Span {
            first_row: tokens.len() as u32,
            n_rows: rows as u32,
            start: sequence.computed as u32,
            first_page: page_table.len() as u32,
            n_pages: sequence.pages.len() as u32,
        });
        tokens.extend(&sequence.tokens[sequence.computed..sequence.computed + rows]);
        page_table.extend(&sequence.pages);
    }
    if tokens.is_empty() {
        return;
    }
    let output_rows: Vec<u32> = (0..tokens.len() as u32).collect();
    let batch =
        StepBatch { tokens: &tokens, spans: &spans, page_table: &page_table, output_rows: &output_rows };
    executor.submit(&batch).unwrap();
    let logits = executor.wait().unwrap();
    let mut row = 0;
    for (sequence, rows) in sequences.iter_mut().zip(taken) {
        for _ in 0..rows {
            sequence.logits.push(logits.row(row).iter().map(|logit| logit.to_bits()).collect());
            row += 1;
        }
        sequence.computed += rows;
    }
}

/// The logits of a sequence computed alone, one chunk after the other.
fn alone(executor: &mut dyn Executor, seed: usize, n_tokens: usize, chunk: usize) -> Vec<Vec<u32>> {
    let mut sequences = [Sequence::new(seed, n_tokens, (0, 1))];
    while sequences[0].computed < n_tokens {
        step(executor, &mut sequences, &[chunk]);
    }
    let [sequence] = sequences;
    sequence.logits
}

#[test]
fn steps_are_the_same_to_the_bit_on_every_instruction_set_and_team() {
    for dtype in [DType::F32, DType::Q8_0, DType::Q4_0] {
        let expected = alone(&mut *executor(dtype, 1, IsaKind::Scalar), 1, 300, 96);
        let finite = expected.iter().flatten().all(|bits| f32::from_bits(*bits).is_finite());
        assert!(finite && expected[299] != expected[298], "{dtype}");
        for isa in IsaKind::available() {
            for n_threads in [1, 2, 3, 4] {
                let actual = alone(&mut *executor(dtype, n_threads, isa), 1, 300, 96);
                assert!(actual == expected, "{dtype} {isa} {n_threads} threads");
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
        dtype in prop::sample::select(vec![DType::F32, DType::Q8_0, DType::Q4_0]),
    ) {
        let mut mixed = executor(dtype, n_threads, IsaKind::best());
        let count = lengths.len();
        let sequence = |(index, &n_tokens)| Sequence::new(index, n_tokens, (index, count));
        let mut sequences: Vec<_> = lengths.iter().enumerate().map(sequence).collect();
        for rows in rows.iter().cycle().take(200) {
            step(&mut *mixed, &mut sequences, rows);
        }
        let mut lone = executor(dtype, 2, IsaKind::best());
        for (seed, sequence) in sequences.iter().enumerate() {
            let expected = alone(&mut *lone, seed, sequence.tokens.len(), 96);
            prop_assert!(sequence.logits[..] == expected[..sequence.logits.len()], "sequence {seed}");
        }
    }
}
