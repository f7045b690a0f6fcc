//! A fake executor. The value of a position depends on the values of all positions before it, read from the pages, so that
//! one wrong or stale page changes every token that follows. With recurrent states, an output depends on a running hash of
//! the tokens too, read from a state slot, so that one wrong slot does the same.

use std::collections::HashSet;

use sm_kernels::plan::{KeptState, Span, StateSpan, StepBatch};
use sm_tensor::{PageId, TokenId};

/// Positions in a page.
pub(crate) const PAGE_LEN: usize = 4;
/// The token that ends a sequence.
pub(crate) const EOS: TokenId = TokenId(0);
const VOCAB_SIZE: u64 = 40;

/// SplitMix64: mixes bits well enough for different texts to have different values.
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The value of a position from the sum of those before it.
fn value(sum: u64, token: TokenId, position: usize) -> u64 {
    mix(sum ^ mix(u64::from(token.0) << 32 | position as u64))
}

/// The recurrent state of an empty sequence.
const ZERO_STATE: u64 = 0;

/// The recurrent state after one more token.
fn next_state(state: u64, token: TokenId) -> u64 {
    mix(state.rotate_left(7) ^ u64::from(token.0))
}

/// What a model computes its outputs from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Model {
    /// From all positions, which are in the pages.
    Attention,
    /// From all positions, and a recurrent state.
    Hybrid,
}

impl Model {
    /// The output of a row from the value of its position and the state after it.
    fn output(self, value: u64, state: u64) -> u64 {
        match self {
            Self::Attention => value,
            Self::Hybrid => mix(value ^ state),
        }
    }

    /// The outputs at all positions of a text, computed without pages and state slots.
    pub(crate) fn outputs(self, token_ids: &[TokenId]) -> Vec<u64> {
        let mut sum = 0_u64;
        let mut state = ZERO_STATE;
        let mut outputs = Vec::with_capacity(token_ids.len());
        for (position, token) in token_ids.iter().enumerate() {
            let value = value(sum, *token, position);
            state = next_state(state, *token);
            outputs.push(self.output(value, state));
            sum = sum.wrapping_add(value);
        }
        outputs
    }
}

/// The token that a sampler with this seed draws from a row.
pub(crate) fn sample(value: u64, seed: u64) -> TokenId {
    TokenId((mix(value ^ mix(seed)) % VOCAB_SIZE) as u32)
}

/// The pages and state slots of a fake executor.
#[derive(Debug)]
pub(crate) struct Memory {
    values: Vec<u64>,
    /// `[n_state_slots]`; none for a model without recurrent states.
    states: Vec<u64>,
}

/// A row of a step as it is computed.
#[derive(Debug)]
struct Row<'a> {
    index: usize,
    token: TokenId,
    /// The places in memory of the sequence's positions, up to the row's.
    places: &'a [usize],
    /// Before the row, and after the visit after it.
    state: &'a mut u64,
}

impl Memory {
    /// Memory full of garbage.
    pub(crate) fn new(n_pages: usize, n_state_slots: usize) -> Self {
        Self {
            values: (0..n_pages as u64 * PAGE_LEN as u64).map(mix).collect(),
            states: (0..n_state_slots as u64).map(|slot| mix(!slot)).collect(),
        }
    }

    /// The model whose memory this is.
    pub(crate) fn model(&self) -> Model {
        if self.states.is_empty() { Model::Attention } else { Model::Hybrid }
    }

    pub(crate) fn copy_pages(&mut self, copies: &[(PageId, PageId)]) {
        for (from, to) in copies {
            let from = from.0 as usize * PAGE_LEN;
            self.values.copy_within(from..from + PAGE_LEN, to.0 as usize * PAGE_LEN);
        }
    }

    /// Computes a step. Returns the values of its outputs.
    pub(crate) fn run(&mut self, batch: &StepBatch<'_>) -> Vec<u64> {
        let model = self.model();
        let mut rows = vec![0; batch.tokens.len()];
        self.for_each_row(batch, |values, row| {
            let position = row.places.len() - 1;
            let sum =
                row.places[..position].iter().fold(0_u64, |sum, place| sum.wrapping_add(values[*place]));
            let value = value(sum, row.token, position);
            values[row.places[position]] = value;
            *row.state = next_state(*row.state, row.token);
            rows[row.index] = model.output(value, *row.state);
        });
        batch.outputs.iter().map(|output| rows[output.row as usize]).collect()
    }

    /// Leaves garbage where the step would have written.
    pub(crate) fn fail(&mut self, batch: &StepBatch<'_>) {
        self.for_each_row(batch, |values, row| {
            let garbage = mix(row.index as u64);
            values[row.places[row.places.len() - 1]] = garbage;
            *row.state = garbage;
        });
    }

    fn for_each_row(&mut self, batch: &StepBatch<'_>, mut visit: impl FnMut(&mut [u64], Row<'_>)) {
        check_states(batch);
        let mut next_row = 0;
        for span in batch.spans {
            assert_eq!(span.first_row, next_row, "spans have no gaps");
            assert_eq!(span.state.is_some(), !self.states.is_empty());
            next_row += span.n_rows;
            let pages = &batch.page_table[span.first_page as usize..][..span.n_pages as usize];
            let place =
                |position: usize| pages[position / PAGE_LEN].0 as usize * PAGE_LEN + position % PAGE_LEN;
            let start = span.start as usize;
            let places: Vec<usize> = (0..start + span.n_rows as usize).map(place).collect();
            let read = span.state.and_then(|state| state.read);
            let mut state = read.map_or(ZERO_STATE, |slot| self.states[slot.0 as usize]);
            for offset in 0..span.n_rows as usize {
                let index = span.first_row as usize + offset;
                let places = &places[..=start + offset];
                visit(&mut self.values, Row { index, token: batch.tokens[index], places, state: &mut state });
                let position = span.start + offset as u32 + 1;
                for kept in kept_states(batch, span).iter().filter(|kept| kept.position == position) {
                    self.states[kept.slot.0 as usize] = state;
                }
            }
            if let Some(StateSpan { write, .. }) = span.state {
                self.states[write.0 as usize] = state;
            }
        }
        assert_eq!(next_row as usize, batch.tokens.len());
    }
}

fn kept_states<'a>(batch: &StepBatch<'a>, span: &Span) -> &'a [KeptState] {
    span.state.map_or(&[], |state| &batch.kept_states[state.first_kept as usize..][..state.n_kept as usize])
}

/// Checks the contract of state slots: what a span writes or keeps is not touched by another span.
fn check_states(batch: &StepBatch<'_>) {
    let mut written = HashSet::new();
    for span in batch.spans {
        let Some(state) = span.state else { continue };
        assert_eq!(state.read.is_none(), span.start == 0, "only an empty sequence has no state");
        assert!(written.insert(state.write), "{:?} is written twice", state.write);
        let kept = kept_states(batch, span);
        assert!(kept.is_sorted_by(|a, b| a.position < b.position));
        for KeptState { position, slot } in kept {
            assert!((span.start + 1..=span.start + span.n_rows).contains(position));
            assert!(written.insert(*slot), "{slot:?} is written twice");
            assert_ne!(Some(*slot), state.read, "the state that is read is lost");
        }
    }
    for state in batch.spans.iter().filter_map(|span| span.state) {
        let read = state.read.filter(|slot| *slot != state.write);
        assert!(read.is_none_or(|slot| !written.contains(&slot)), "{read:?} is read and written");
    }
}
