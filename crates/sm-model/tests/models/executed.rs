//! Golden and published models on the CPU backend: the logits of the reference, whole prompts and token by token.

use sm_kernels::CpuBackend;
use sm_kernels::plan::{
    Backend, Executor, KvDType, Limits, OutputRow, PAGE_LEN, RopeRange, Span, StepBatch, StepOutput,
};
use sm_model::Model;
use sm_tensor::{PageId, TokenId};

/// One sequence on the CPU, its keys and values in `f32`.
pub(crate) struct Sequence {
    executor: Box<dyn Executor>,
    pages: Vec<PageId>,
    n_computed: u32,
    rope_range: RopeRange,
}

/// The frequencies of a sequence of this length.
pub(crate) fn rope_range(model: &Model, n_tokens: usize) -> RopeRange {
    match model.plan.rope_extended_beyond() {
        Some(beyond) if n_tokens > beyond => RopeRange::Extended,
        _ => RopeRange::Original,
    }
}

impl Sequence {
    /// An empty sequence of at most `n_tokens`.
    pub(crate) fn new(model: &Model, n_tokens: usize) -> Self {
        let n_pages = n_tokens.div_ceil(PAGE_LEN);
        let limits = Limits {
            max_tokens: n_tokens,
            max_outputs: n_tokens,
            kv_dtype: KvDType::F32,
            ..Limits::one_sequence(n_tokens)
        };
        let backend = CpuBackend::new().exact_threads(2);
        let executor = backend.prepare(&model.plan, &model.weights, limits, &|_| ()).unwrap();
        // Backwards, so that a backend that took positions for pages would show.
        let pages = (0..n_pages as u32).rev().map(PageId).collect();
        Self { executor, pages, n_computed: 0, rope_range: rope_range(model, n_tokens) }
    }

    fn step<T>(&mut self, tokens: &[u32], run: impl FnOnce(&mut dyn Executor, &StepBatch<'_>) -> T) -> T {
        let n_rows = tokens.len() as u32;
        let tokens: Vec<TokenId> = tokens.iter().copied().map(TokenId).collect();
        let outputs: Vec<_> = (0..n_rows).map(OutputRow::logits).collect();
        let n_pages = self.pages.len() as u32;
        let rope_range = self.rope_range;
        let spans = [Span { n_rows, start: self.n_computed, n_pages, rope_range, ..Span::default() }];
        self.n_computed += n_rows;
        let batch = StepBatch {
            tokens: &tokens,
            spans: &spans,
            page_table: &self.pages,
            outputs: &outputs,
            ..StepBatch::default()
        };
        run(self.executor.as_mut(), &batch)
    }

    /// The logits of every token.
    pub(crate) fn logits(&mut self, tokens: &[u32]) -> Vec<Vec<f32>> {
        self.step(tokens, |executor, batch| {
            let mut output = StepOutput::new();
            executor.run(batch, &mut output).unwrap();
            (0..batch.tokens.len()).map(|row| output.logits(row).to_vec()).collect()
        })
    }

    /// Shows the result of every operation, `[n_tokens, width]`.
    pub(crate) fn trace(&mut self, tokens: &[u32], visit: &mut dyn FnMut(usize, &[f32])) {
        self.step(tokens, |executor, batch| executor.trace(batch, visit).unwrap());
    }
}

/// The logits of `tokens` in one step, after a check that token by token gives the same bits.
pub(crate) fn logits(model: &Model, tokens: &[u32]) -> Vec<Vec<f32>> {
    let at_once = Sequence::new(model, tokens.len()).logits(tokens);
    let mut sequence = Sequence::new(model, tokens.len());
    for (token, expected) in tokens.iter().zip(&at_once) {
        let alone = sequence.logits(&[*token]);
        let bits = |row: &[f32]| row.iter().map(|logit| logit.to_bits()).collect::<Vec<_>>();
        assert!(bits(&alone[0]) == bits(expected), "token by token differs from the whole prompt");
    }
    at_once
}
