//! Times model steps for `sm bench`: random tokens, no sampling.

use std::ops::Range;
use std::time::{Duration, Instant};

use sm_kernels::plan::{Executor, ExecutorInfo, OutputRow, PAGE_LEN, Profile, Span, StepBatch, StepOutput};
use sm_tensor::{PageId, StateSlot, TokenId};

use crate::sampling::random_token;
use crate::sequence::state_in_place;
use crate::{Error, ExecutorOptions, LimitedResource, LoadedModel};

/// Runs and times steps on random tokens. Each sequence has its own pages.
#[derive(Debug)]
pub struct Bench {
    executor: Box<dyn Executor>,
    context_len: usize,
    vocab_size: usize,
    page_table: Vec<PageId>,
    spans: Vec<Span>,
    tokens: Vec<TokenId>,
    outputs: Vec<OutputRow>,
    output: StepOutput,
    drawn: u64,
    /// Positions of each sequence that hold keys and values. Timed positions stay valid, so each depth is computed only
    /// once.
    filled: Vec<usize>,
    is_profiled: bool,
}

impl Bench {
    /// Creates a bench with its own executor, sized by `options` for the sequences, outputs and positions of the tests.
    ///
    /// # Errors
    /// If an option is invalid or memory runs out.
    pub fn new(model: &LoadedModel, options: &ExecutorOptions) -> Result<Self, Error> {
        let executor = model.prepare(options)?.executor;
        let pages_per_sequence = model.context_len.div_ceil(PAGE_LEN) as u32;
        let n_sequences = executor.limits().max_sequences;
        let page_table = (0..n_sequences as u32 * pages_per_sequence).map(PageId).collect();
        Ok(Self {
            executor,
            context_len: model.context_len,
            vocab_size: model.vocab_size,
            page_table,
            spans: Vec::new(),
            tokens: Vec::new(),
            outputs: Vec::new(),
            output: StepOutput::new(),
            drawn: 0,
            filled: vec![0; n_sequences],
            is_profiled: false,
        })
    }

    /// The backend, its kernel set, workers and memory.
    pub fn info(&self) -> &ExecutorInfo {
        self.executor.info()
    }

    /// Discards all filled positions.
    pub fn reset(&mut self) {
        self.filled.fill(0);
    }

    /// Times prefill of `n_tokens` tokens per sequence, in chunks, one sequence after another, including the logits of
    /// the last token. Each sequence already holds `depth` tokens (computed untimed).
    ///
    /// # Errors
    /// If `depth + n_tokens` exceeds the context, `n_sequences` exceeds what the model was loaded for, or a step fails.
    pub fn prefill(&mut self, n_tokens: usize, depth: usize, n_sequences: usize) -> Result<Duration, Error> {
        self.check(n_sequences, depth + n_tokens)?;
        self.deepen(n_sequences, depth)?;
        self.timed(|bench| bench.fill(0..n_sequences, depth..depth + n_tokens))
    }

    /// Times `n_steps` decode steps of `n_sequences` sequences, each already holding `depth` tokens (computed untimed).
    ///
    /// # Errors
    /// If `depth + n_steps` exceeds the context, `n_sequences` exceeds what the model was loaded for, or a step fails.
    pub fn decode(&mut self, n_steps: usize, depth: usize, n_sequences: usize) -> Result<Duration, Error> {
        self.check(n_sequences, depth + n_steps)?;
        self.deepen(n_sequences, depth)?;
        self.timed(|bench| {
            for step in 0..n_steps {
                bench.clear();
                for sequence in 0..n_sequences {
                    bench.add_span(sequence, depth + step, 1);
                    bench.outputs.push(OutputRow::logits(sequence as u32));
                }
                bench.run()?;
            }
            Ok(())
        })
    }

    /// Profiles the timed steps of `test`, which calls one of the methods above. Profiling adds overhead. `None` if the
    /// backend does not support it.
    ///
    /// # Errors
    /// As `test`.
    pub fn profile(
        &mut self,
        test: impl FnOnce(&mut Self) -> Result<Duration, Error>,
    ) -> Result<Option<Profile>, Error> {
        self.is_profiled = true;
        let tested = test(self);
        self.is_profiled = false;
        let profile = self.executor.finish_profile();
        tested.map(|_| profile)
    }

    fn timed(&mut self, steps: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<Duration, Error> {
        if self.is_profiled {
            self.executor.start_profile();
        }
        let start = Instant::now();
        steps(self)?;
        Ok(start.elapsed())
    }

    fn check(&self, n_sequences: usize, n_positions: usize) -> Result<(), Error> {
        let limits = self.executor.limits();
        let n_sequences_max = limits.max_sequences.min(limits.max_outputs).min(limits.max_tokens);
        let context_len = self.context_len;
        if n_sequences > n_sequences_max {
            return Err(Error::limit(LimitedResource::Sequences, n_sequences_max, n_sequences));
        }
        if n_positions > context_len {
            return Err(Error::limit(LimitedResource::Context, context_len, n_positions));
        }
        Ok(())
    }

    /// Extends the sequences to `depth` positions.
    fn deepen(&mut self, n_sequences: usize, depth: usize) -> Result<(), Error> {
        for sequence in 0..n_sequences {
            let filled = self.filled[sequence];
            if filled < depth {
                self.fill(sequence..sequence + 1, filled..depth)?;
            }
        }
        Ok(())
    }

    /// Computes `positions` of each of `sequences`.
    fn fill(&mut self, sequences: Range<usize>, positions: Range<usize>) -> Result<(), Error> {
        let chunk_len = self.executor.limits().max_tokens;
        for sequence in sequences {
            for start in positions.clone().step_by(chunk_len) {
                let n_rows = chunk_len.min(positions.end - start);
                self.clear();
                self.add_span(sequence, start, n_rows);
                if start + n_rows == positions.end {
                    self.outputs.push(OutputRow::logits(n_rows as u32 - 1));
                }
                self.run()?;
            }
        }
        Ok(())
    }

    fn clear(&mut self) {
        self.spans.clear();
        self.tokens.clear();
        self.outputs.clear();
    }

    fn add_span(&mut self, sequence: usize, start: usize, n_rows: usize) {
        let pages_per_sequence = self.context_len.div_ceil(PAGE_LEN);
        let is_stateful = self.executor.state_bytes() > 0;
        self.filled[sequence] = self.filled[sequence].max(start + n_rows);
        self.spans.push(Span {
            first_row: self.tokens.len() as u32,
            n_rows: n_rows as u32,
            start: start as u32,
            first_page: (sequence * pages_per_sequence) as u32,
            n_pages: (start + n_rows).div_ceil(PAGE_LEN) as u32,
            state: is_stateful.then(|| state_in_place(StateSlot(sequence as u32), start)),
            ..Span::default()
        });
        for _ in 0..n_rows {
            self.tokens.push(random_token(self.drawn, self.vocab_size));
            self.drawn += 1;
        }
    }

    fn run(&mut self) -> Result<(), Error> {
        let batch = StepBatch {
            tokens: &self.tokens,
            spans: &self.spans,
            page_table: &self.page_table,
            outputs: &self.outputs,
            ..StepBatch::default()
        };
        Ok(self.executor.run(&batch, &mut self.output)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeSize, fake_model, hashed};

    const SIZE: FakeSize = FakeSize { context_len: 40, max_tokens: 8, n_sequences: 3 };

    fn bench(model: &LoadedModel) -> Bench {
        Bench::new(model, &ExecutorOptions::default()).unwrap()
    }

    #[test]
    fn prompts_are_computed_in_chunks_behind_what_is_there() {
        let (model, steps) = fake_model(SIZE, hashed);
        bench(&model).prefill(10, 3, 2).unwrap();
        let [fill, chunk, rest] = [(0, 3, 1), (3, 8, 0), (11, 2, 1)];
        assert_eq!(*steps.lock().unwrap(), [fill, fill, chunk, rest, chunk, rest]);
    }

    #[test]
    fn a_step_decodes_one_token_of_each_sequence() {
        let (model, steps) = fake_model(SIZE, hashed);
        bench(&model).decode(2, 5, 3).unwrap();
        let fill = [(0, 5, 1); 3];
        let spans = [[(5, 1, 3); 3], [(6, 1, 3); 3]].concat();
        assert_eq!(*steps.lock().unwrap(), [&fill[..], &spans].concat());
    }

    #[test]
    fn a_depth_that_is_there_is_not_computed_again() {
        let (model, steps) = fake_model(SIZE, hashed);
        let mut bench = bench(&model);
        bench.decode(1, 5, 1).unwrap();
        bench.decode(1, 3, 1).unwrap();
        bench.decode(1, 8, 1).unwrap();
        let expected = [(0, 5, 1), (5, 1, 1), (3, 1, 1), (6, 2, 1), (8, 1, 1)];
        assert_eq!(*steps.lock().unwrap(), expected);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (model, steps) = fake_model(SIZE, hashed);
        let mut bench = bench(&model);
        let too_long = bench.decode(10, 31, 1).unwrap_err();
        assert!(matches!(
            too_long,
            Error::ResourceLimit { resource: LimitedResource::Context, limit: 40, actual: 41 }
        ));
        let too_many = bench.prefill(1, 0, 4).unwrap_err();
        assert!(matches!(
            too_many,
            Error::ResourceLimit { resource: LimitedResource::Sequences, limit: 3, actual: 4 }
        ));
        assert!(steps.lock().unwrap().is_empty());
    }
}
