//! Whether a step fits a plan and the limits of its executor. Every executor can check its batches here, before anything is
//! computed, so that all refuse the same with the same words.

#[cfg(test)]
mod tests;

use sm_tensor::{StateSlot, TokenId};

use super::Plan;
use super::batch::{KeptState, PAGE_LEN, Span, StateSpan, StepBatch, Wanted};
use super::executor::{ExecError, Limits};
use super::op::Op;

/// What a plan and the limits of its executor allow in a step.
///
/// A check allocates nothing: what was touched is marked with the number of the check, so that nothing has to be cleared.
#[derive(Clone, Debug)]
pub struct StepRules {
    limits: Limits,
    context_len: usize,
    n_token_ids: usize,
    has_logits: bool,
    has_hidden: bool,
    has_states: bool,
    input_width: Option<usize>,
    n_checks: u64,
    /// For each page, the last check in which it was written.
    written_pages: Vec<u64>,
    slots: Vec<SlotUse>,
}

/// What spans do with a state slot.
#[derive(Clone, Copy, Debug, Default)]
struct SlotUse {
    /// The last check in which it was used.
    check: u64,
    /// The span that reads it, of several the last.
    reader: Option<u32>,
    /// Whether several do.
    is_shared: bool,
    is_written: bool,
}

fn invalid<T>(reason: String) -> Result<T, ExecError> {
    Err(ExecError::InvalidBatch { reason })
}

fn at_most(what: &str, n: usize, limit: usize) -> Result<(), ExecError> {
    if n <= limit {
        Ok(())
    } else {
        invalid(format!("{n} {what}, but the executor was prepared for {limit}"))
    }
}

impl StepRules {
    /// The rules for a valid plan.
    pub fn new(plan: &Plan, limits: Limits) -> Self {
        let table_rows = |op: &Op| match op {
            Op::Embed(embed) => Some(plan.matrix(embed.table).rows()),
            _ => None,
        };
        let input_width = |op: &Op| match op {
            Op::Input(input) => Some(plan.buffer(input.out).width),
            _ => None,
        };
        Self {
            limits,
            context_len: plan.context_len,
            n_token_ids: plan.ops.iter().filter_map(table_rows).min().unwrap_or(usize::MAX),
            has_logits: plan.logits.is_some(),
            has_hidden: plan.hidden.is_some(),
            has_states: !plan.cache.states.is_empty(),
            input_width: plan.ops.iter().find_map(input_width),
            n_checks: 0,
            written_pages: vec![0; limits.n_pages],
            slots: vec![SlotUse::default(); limits.n_state_slots(&plan.cache)],
        }
    }

    /// Checks a step.
    ///
    /// # Errors
    /// The first rule that it breaks, with the numbers.
    pub fn check(&mut self, batch: &StepBatch<'_>) -> Result<(), ExecError> {
        self.n_checks += 1;
        self.check_rows(batch)?;
        self.check_outputs(batch)?;
        self.check_spans(batch)?;
        self.check_written_pages(batch)?;
        self.check_states(batch)
    }

    fn check_rows(&self, batch: &StepBatch<'_>) -> Result<(), ExecError> {
        let limits = &self.limits;
        let n_tokens = batch.tokens.len();
        if n_tokens == 0 {
            return invalid("it has no tokens".to_owned());
        }
        at_most("tokens", n_tokens, limits.max_tokens)?;
        at_most("spans", batch.spans.len(), limits.max_sequences)?;
        at_most("outputs", batch.outputs.len(), limits.max_outputs)?;
        let n_ids = self.n_token_ids;
        let unknown = |token: &&TokenId| n_ids <= token.0 as usize;
        if let Some(token) = batch.tokens.iter().find(unknown) {
            return invalid(format!("token id {} but the vocabulary has {n_ids}", token.0));
        }
        match (self.input_width, batch.input) {
            (None, None) => Ok(()),
            (None, Some(_)) => invalid("it has an input, but the plan reads none".to_owned()),
            (Some(width), None) => invalid(format!("it has no input, but the plan reads rows of {width}")),
            (Some(width), Some(input)) if n_tokens.checked_mul(width) != Some(input.len()) => {
                invalid(format!("an input of {} values for {n_tokens} rows of {width}", input.len()))
            }
            (Some(_), Some(_)) => Ok(()),
        }
    }

    fn check_outputs(&self, batch: &StepBatch<'_>) -> Result<(), ExecError> {
        if let Some(pair) = batch.outputs.windows(2).find(|pair| pair[1].row <= pair[0].row) {
            return invalid(format!("output row {} follows {}: they must ascend", pair[1].row, pair[0].row));
        }
        if let Some(last) = batch.outputs.last().filter(|last| batch.tokens.len() <= last.row as usize) {
            return invalid(format!("output row {} of {} rows", last.row, batch.tokens.len()));
        }
        for output in batch.outputs {
            let (is_there, what) = match output.wanted {
                Wanted::Hidden => (self.has_hidden, "the hidden state"),
                Wanted::TopK(0) => return invalid(format!("the 0 largest logits of row {}", output.row)),
                Wanted::Logits | Wanted::ArgMax | Wanted::TopK(_) => (self.has_logits, "logits"),
            };
            if !is_there {
                return invalid(format!("row {} is to give {what}, but the plan has none", output.row));
            }
        }
        Ok(())
    }

    fn check_spans(&self, batch: &StepBatch<'_>) -> Result<(), ExecError> {
        let mut n_rows = 0;
        for (index, span) in batch.spans.iter().enumerate() {
            if span.first_row as usize != n_rows || span.n_rows == 0 {
                let first = span.first_row;
                let count = span.n_rows;
                return invalid(format!(
                    "span {index} has {count} rows from row {first}, after {n_rows} rows"
                ));
            }
            n_rows += span.n_rows as usize;
            self.check_pages(index, span, batch)?;
        }
        if n_rows == batch.tokens.len() {
            Ok(())
        } else {
            invalid(format!("the spans have {n_rows} rows for {} tokens", batch.tokens.len()))
        }
    }

    fn check_pages(&self, index: usize, span: &Span, batch: &StepBatch<'_>) -> Result<(), ExecError> {
        let context_len = self.context_len;
        let n_pages = self.limits.n_pages;
        let end = span.start as usize + span.n_rows as usize;
        if context_len < end {
            return invalid(format!("span {index} ends at position {end}, but the context is {context_len}"));
        }
        if (span.n_pages as usize) < end.div_ceil(PAGE_LEN) {
            return invalid(format!("span {index} has {} pages for {end} positions", span.n_pages));
        }
        let first = span.first_page as usize;
        let Some(pages) = batch.page_table.get(first..first + span.n_pages as usize) else {
            let count = span.n_pages;
            let len = batch.page_table.len();
            return invalid(format!(
                "span {index} has {count} pages from {first}, but the page table has {len}"
            ));
        };
        match pages.iter().find(|page| n_pages <= page.0 as usize) {
            Some(page) => invalid(format!("span {index} names page {}, but the pool has {n_pages}", page.0)),
            None => Ok(()),
        }
    }

    fn check_written_pages(&mut self, batch: &StepBatch<'_>) -> Result<(), ExecError> {
        for (index, span) in batch.spans.iter().enumerate() {
            let (first, last) =
                (span.start as usize / PAGE_LEN, (span.start + span.n_rows - 1) as usize / PAGE_LEN);
            let pages = &batch.page_table[span.first_page as usize..];
            for page in &pages[first..=last] {
                let last_check = &mut self.written_pages[page.0 as usize];
                if *last_check == self.n_checks {
                    let page = page.0;
                    return invalid(format!(
                        "span {index} writes page {page}, which the step writes already"
                    ));
                }
                *last_check = self.n_checks;
            }
        }
        Ok(())
    }

    /// The rules of [`StateSpan`]: first who reads what, then that nobody else writes it.
    fn check_states(&mut self, batch: &StepBatch<'_>) -> Result<(), ExecError> {
        let mut n_kept = 0;
        for (index, span) in batch.spans.iter().enumerate() {
            let Some(state) = self.state_of(index, span)? else { continue };
            if state.first_kept as usize != n_kept {
                let first = state.first_kept;
                return invalid(format!(
                    "span {index} keeps states from {first}, after {n_kept} kept states"
                ));
            }
            n_kept += state.n_kept as usize;
            if let Some(slot) = state.read {
                let used = self.slot(index, slot)?;
                used.is_shared = used.reader.is_some();
                used.reader = Some(index as u32);
            }
        }
        if n_kept != batch.kept_states.len() {
            let n_listed = batch.kept_states.len();
            return invalid(format!("the spans keep {n_kept} states, but {n_listed} are listed"));
        }
        for (index, span) in batch.spans.iter().enumerate() {
            let Some(state) = span.state else { continue };
            let kept = &batch.kept_states[state.first_kept as usize..][..state.n_kept as usize];
            check_positions(index, span, kept)?;
            for slot in kept.iter().map(|kept| kept.slot).chain([state.write]) {
                let used = self.slot(index, slot)?;
                let is_read_elsewhere =
                    used.is_shared || used.reader.is_some_and(|reader| reader != index as u32);
                if used.is_written || is_read_elsewhere {
                    let what = if used.is_written { "writes" } else { "reads" };
                    return invalid(format!(
                        "span {index} writes state slot {}, which the step {what} elsewhere",
                        slot.0
                    ));
                }
                used.is_written = true;
            }
        }
        Ok(())
    }

    /// The state of a span, if the plan has any.
    fn state_of(&self, index: usize, span: &Span) -> Result<Option<StateSpan>, ExecError> {
        match span.state {
            None if self.has_states => invalid(format!("span {index} names no state, but the plan has some")),
            Some(_) if !self.has_states => {
                invalid(format!("span {index} names a state, but the plan has none"))
            }
            Some(StateSpan { read: None, .. }) if span.start > 0 => {
                invalid(format!("span {index} starts at position {} but reads no state", span.start))
            }
            Some(StateSpan { read: Some(slot), .. }) if span.start == 0 => {
                invalid(format!("span {index} starts at position 0 but reads state slot {}", slot.0))
            }
            state => Ok(state),
        }
    }

    /// What this check has seen of a slot.
    fn slot(&mut self, span: usize, slot: StateSlot) -> Result<&mut SlotUse, ExecError> {
        let n_slots = self.slots.len();
        let check = self.n_checks;
        let Some(used) = self.slots.get_mut(slot.0 as usize) else {
            return invalid(format!("span {span} names state slot {}, but the pool has {n_slots}", slot.0));
        };
        if used.check != check {
            *used = SlotUse { check, ..SlotUse::default() };
        }
        Ok(used)
    }
}

/// Kept states ascend within their span.
fn check_positions(index: usize, span: &Span, kept: &[KeptState]) -> Result<(), ExecError> {
    let mut last = span.start;
    let end = span.start + span.n_rows;
    for kept in kept {
        if kept.position <= last || end < kept.position {
            let position = kept.position;
            return invalid(format!(
                "span {index} keeps the state after {position} tokens, which must be above {last} and at most {end}"
            ));
        }
        last = kept.position;
    }
    Ok(())
}
