//! Sequences of the small decoders of `sm_kernels::testing`, step by step, for the tests of each backend.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use sm_kernels::plan::{Executor, Limits, OutputRow, PAGE_LEN, Span, StepBatch, StepOutput};
use sm_kernels::testing;
use sm_tensor::{PageId, TokenId};

pub(crate) const N_PAGES: usize = 120;

/// Limits of small tests: up to 96 rows, all of which may give outputs.
pub(crate) fn limits() -> Limits {
    Limits { max_tokens: 96, max_outputs: 96, max_sequences: 8, ..Limits::one_sequence(N_PAGES * PAGE_LEN) }
}

/// A sequence with its pages, somewhere in the pool.
pub(crate) struct Sequence {
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) pages: Vec<PageId>,
    pub(crate) computed: usize,
    pub(crate) logits: Vec<Vec<u32>>,
}

impl Sequence {
    /// The `index`th of `count` sequences; its pages lie between those of the others, backwards.
    pub(crate) fn new(seed: usize, n_tokens: usize, index: usize, count: usize) -> Self {
        let tokens =
            (0..n_tokens).map(|i| TokenId(((i * i * 7 + i * 3 + seed * 13) % testing::VOCAB_SIZE) as u32));
        let n_pages = n_tokens.div_ceil(PAGE_LEN);
        let pages = (0..n_pages).map(|page| PageId((N_PAGES - 1 - page * count - index) as u32));
        Self { tokens: tokens.collect(), pages: pages.collect(), computed: 0, logits: Vec::new() }
    }
}

/// Runs one step with up to `rows[i]` rows of sequence `i`; all rows give logits.
pub(crate) fn step(executor: &mut dyn Executor, sequences: &mut [Sequence], rows: &[usize]) {
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
            ..Span::default()
        });
        tokens.extend(&sequence.tokens[sequence.computed..sequence.computed + rows]);
        page_table.extend(&sequence.pages);
    }
    if tokens.is_empty() {
        return;
    }
    let outputs: Vec<_> = (0..tokens.len() as u32).map(OutputRow::logits).collect();
    let mut output = StepOutput::new();
    let (tokens, spans, page_table, outputs) = (&tokens[..], &spans[..], &page_table[..], &outputs[..]);
    let batch = StepBatch { tokens, spans, page_table, outputs, ..StepBatch::default() };
    executor.run(&batch, &mut output).unwrap();
    let mut row = 0;
    for (sequence, rows) in sequences.iter_mut().zip(taken) {
        for _ in 0..rows {
            sequence.logits.push(output.logits(row).iter().map(|logit| logit.to_bits()).collect());
            row += 1;
        }
        sequence.computed += rows;
    }
}

/// The logits of a sequence computed alone, one chunk after the other.
pub(crate) fn alone(
    executor: &mut dyn Executor,
    seed: usize,
    n_tokens: usize,
    chunk: usize,
) -> Vec<Vec<u32>> {
    let mut sequences = [Sequence::new(seed, n_tokens, 0, 1)];
    while sequences[0].computed < n_tokens {
        step(executor, &mut sequences, &[chunk]);
    }
    let [sequence] = sequences;
    sequence.logits
}
