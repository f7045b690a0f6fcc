//! Recurrent states of a fake model: a running hash of a sequence's tokens.

use std::collections::HashSet;

use sm_kernels::plan::{ExecError, StepBatch};
use sm_tensor::{StateSlot, TokenId};

/// The state before the first token.
const ZERO: u64 = 0x243f_6a88_85a3_08d3;

/// A pool of states; `None` if never written.
#[derive(Debug)]
pub(super) struct FakeStates(Vec<Option<u64>>);

/// The state after one more token.
fn follow(state: u64, token: TokenId) -> u64 {
    (state ^ u64::from(token.0)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31)
}

/// Makes logits depend on a state: leaves them unchanged only if it is the state of the history.
pub(super) fn confuse(logits: &mut [f32], state: u64, history: &[TokenId]) {
    let error = state ^ history.iter().fold(ZERO, |state, token| follow(state, *token));
    if error != 0 {
        let n_shifted = 1 + error as usize % (logits.len() - 1);
        logits.rotate_left(n_shifted);
    }
}

fn invalid(reason: String) -> ExecError {
    ExecError::InvalidBatch { reason }
}

impl FakeStates {
    pub(super) fn new(n_slots: usize) -> Self {
        Self(vec![None; n_slots])
    }

    pub(super) fn n_slots(&self) -> usize {
        self.0.len()
    }

    pub(super) fn state_bytes(&self) -> usize {
        if self.0.is_empty() { 0 } else { size_of::<u64>() }
    }

    /// Computes the states of a step and returns that after each row; none without a pool.
    ///
    /// # Errors
    /// If spans touch each other's slots or read a state that was never written.
    pub(super) fn run(&mut self, batch: &StepBatch<'_>) -> Result<Vec<u64>, ExecError> {
        if self.0.is_empty() {
            return Ok(Vec::new());
        }
        Self::check(batch)?;
        // Spans run concurrently: all read before any writes.
        let before = self.0.clone();
        let mut states = Vec::with_capacity(batch.tokens.len());
        for span in batch.spans {
            let plan = span.state.ok_or_else(|| invalid("a span without a state".into()))?;
            let mut state = match plan.read {
                None if span.start == 0 => ZERO,
                None => return Err(invalid(format!("no state to begin with at position {}", span.start))),
                Some(slot) => {
                    let state = before[slot.0 as usize];
                    state.ok_or_else(|| invalid(format!("slot {} was never written", slot.0)))?
                }
            };
            let kept = &batch.kept_states[plan.first_kept as usize..][..plan.n_kept as usize];
            for row in 0..span.n_rows {
                state = follow(state, batch.tokens[(span.first_row + row) as usize]);
                for kept in kept.iter().filter(|kept| kept.position == span.start + row + 1) {
                    self.0[kept.slot.0 as usize] = Some(state);
                }
                states.push(state);
            }
            self.0[plan.write.0 as usize] = Some(state);
        }
        Ok(states)
    }

    /// Checks that no slot written by a span is touched by another, and that kept states lie within the span, in order.
    fn check(batch: &StepBatch<'_>) -> Result<(), ExecError> {
        let mut written = HashSet::new();
        for span in batch.spans {
            let Some(plan) = span.state else { continue };
            let kept = &batch.kept_states[plan.first_kept as usize..][..plan.n_kept as usize];
            let slots = kept.iter().map(|kept| kept.slot).chain([plan.write]);
            for slot in slots {
                if !written.insert(slot) {
                    return Err(invalid(format!("slot {} is written twice", slot.0)));
                }
            }
            let positions: Vec<u32> = kept.iter().map(|kept| kept.position).collect();
            let is_within =
                positions.iter().all(|at| (span.start + 1..=span.start + span.n_rows).contains(at));
            if !is_within || !positions.is_sorted() {
                return Err(invalid(format!("kept at {positions:?} by {span:?}")));
            }
        }
        for span in batch.spans {
            let Some(plan) = span.state else { continue };
            let is_foreign = |slot: &StateSlot| *slot != plan.write && written.contains(slot);
            if plan.read.as_ref().is_some_and(is_foreign) {
                return Err(invalid(format!("{:?} is read and written in one step", plan.read)));
            }
        }
        Ok(())
    }

    pub(super) fn read(&self, slots: &[StateSlot], bytes: &mut [u8]) -> Result<(), ExecError> {
        for (slot, bytes) in slots.iter().zip(bytes.as_chunks_mut().0) {
            let state = self.0[slot.0 as usize];
            *bytes =
                state.ok_or_else(|| invalid(format!("slot {} was never written", slot.0)))?.to_le_bytes();
        }
        Ok(())
    }

    pub(super) fn write(&mut self, slots: &[StateSlot], bytes: &[u8]) -> Result<(), ExecError> {
        for (slot, bytes) in slots.iter().zip(bytes.as_chunks().0) {
            self.0[slot.0 as usize] = Some(u64::from_le_bytes(*bytes));
        }
        Ok(())
    }
}
