//! Takes a step's results in: tokens, rejected drafts, choices that separate, and sequences that end.

use sm_cache::KvCache;
use sm_tensor::TokenId;

use crate::scheduler::Scheduler;
use crate::sequence::{EndReason, Sequence};
use crate::step::StepPart;

/// Whether a sequence goes on after its new tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It goes on, unless it has all its tokens.
    Continue,
    /// It ends: a stop rule matched. Its new tokens are those to be kept, possibly none.
    Stop,
}

/// What was sampled in a step. Cleared and filled again for each step, it allocates nothing.
#[derive(Debug, Default)]
pub struct Results {
    tokens: Vec<TokenId>,
    /// Per result: the end of its tokens, and the verdict.
    ends: Vec<(usize, Verdict)>,
}

impl Results {
    /// No results.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all results.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.ends.clear();
    }

    /// The result of the next sequence, in the order of [`Step::parts`](crate::Step::parts): its own samples, drafts that
    /// they equalled included, up to the first that differs from the draft.
    pub fn push(&mut self, tokens: &[TokenId], verdict: Verdict) {
        self.tokens.extend_from_slice(tokens);
        self.ends.push((self.tokens.len(), verdict));
    }

    /// Number of results.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn get(&self, index: usize) -> (&[TokenId], Verdict) {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before].0);
        let (end, verdict) = self.ends[index];
        (&self.tokens[start..end], verdict)
    }
}

impl Scheduler {
    /// Takes in what the step has computed: `results` has one entry per sequence that sampled, in the order of
    /// [`Step::parts`](crate::Step::parts), [`StepPart::n_results`] for each. `step_us` is the time that the step took, 0
    /// if it should not be learnt from.
    ///
    /// Sequences that end come out of [`Scheduler::drain_ended`]; their slots are free for the next step.
    ///
    /// # Panics
    /// If the results are not as many as the step asked for.
    pub fn commit(&mut self, results: &Results, step_us: u64, cache: &mut KvCache) {
        let n_expected: usize = self.step.parts.iter().map(StepPart::n_results).sum();
        assert!(results.len() == n_expected, "{} results of a step that has {n_expected}", results.len());
        if step_us > 0 && self.step.n_rows() > 0 {
            self.cost.observe(step_us, self.step.n_rows(), self.step.context());
            if let Some(adaptive) = &mut self.adaptive {
                let max_pages = cache.max_pages();
                adaptive.observe(step_us, max_pages.saturating_sub(cache.n_available()), max_pages);
            }
        }
        let mut next = 0;
        let parts = std::mem::take(&mut self.step.parts);
        for part in &parts {
            let first = next;
            next += part.n_results();
            if let Some(index) = self.running.iter().position(|sequence| sequence.id == part.id) {
                self.commit_part(index, part, (results, first), cache);
            }
        }
        self.step.clear();
        self.step.parts = parts;
        self.step.parts.clear();
    }

    /// Gives a step up that failed: its rows count as not computed.
    pub fn abandon(&mut self, cache: &mut KvCache) {
        self.stats.abandoned_steps += 1;
        for sequence in self.running.iter_mut().filter(|sequence| sequence.n_rows > 0) {
            if let Some(lease) = &sequence.lease {
                cache.truncate(lease, cache.computed(lease));
            }
            sequence.drafts.clear();
            sequence.n_rows = 0;
        }
        self.step.clear();
    }

    fn commit_part(
        &mut self,
        index: usize,
        part: &StepPart,
        results: (&Results, usize),
        cache: &mut KvCache,
    ) {
        let sequence = &mut self.running[index];
        sequence.n_scored =
            sequence.n_scored.map(|n| n.max((part.start + part.n_rows).min(sequence.n_prompt - 1)));
        if part.n_sampled == 0 {
            let computed = part.start + part.n_rows;
            sequence.commit(computed, cache);
            if !sequence.samples() && computed == sequence.token_ids.len() {
                let sequence = self.running.remove(index);
                self.end(sequence, EndReason::Length, cache);
            }
            return;
        }
        let (results, first) = results;
        if part.n_choices > 1 {
            sequence.commit(sequence.token_ids.len(), cache);
            self.fork(index, part.n_choices, cache);
        }
        // The choices stand behind each other, so the last of them is taken first: one that ends leaves a gap.
        for choice in (0..part.n_choices as usize).rev() {
            let (tokens, verdict) = results.get(first + choice);
            self.accept(index + choice, tokens, verdict, cache);
        }
    }

    /// Separates the choices of a request, whose prompt is computed.
    fn fork(&mut self, index: usize, n_choices: u32, cache: &mut KvCache) {
        self.running[index].n_choices = 1;
        for choice in 1..n_choices {
            let fork = self.running[index].fork(choice, cache);
            self.fairness.enter_again(fork.key);
            self.running.insert(index + choice as usize, fork);
        }
    }

    fn accept(&mut self, index: usize, tokens: &[TokenId], verdict: Verdict, cache: &mut KvCache) {
        let sequence = &mut self.running[index];
        let n_tokens = tokens.len().min(sequence.max_len - sequence.token_ids.len());
        let n_accepted = sequence.accept(&tokens[..n_tokens], verdict, cache);
        self.stats.accepted_drafts += n_accepted as u64;
        self.stats.generated_tokens += n_tokens as u64;
        let service = self.config.output_service(n_tokens);
        self.fairness.charge(sequence.key, service);
        let reason = match verdict {
            Verdict::Stop => EndReason::Stopped,
            Verdict::Continue if sequence.token_ids.len() >= sequence.max_len => EndReason::Length,
            Verdict::Continue => return,
        };
        let sequence = self.running.remove(index);
        self.end(sequence, reason, cache);
    }
}

impl Sequence {
    /// Positions up to `computed` are computed.
    fn commit(&mut self, computed: usize, cache: &mut KvCache) {
        if let Some(lease) = &self.lease {
            cache.commit(lease, &self.token_ids, computed);
        }
        self.n_rows = 0;
    }

    /// Appends tokens, and takes back what was computed for drafts that they do not equal. Gives how many they do.
    fn accept(&mut self, tokens: &[TokenId], verdict: Verdict, cache: &mut KvCache) -> usize {
        let n_drafts = self.n_rows.saturating_sub(self.remaining(cache));
        let drafts = &self.drafts[..n_drafts.min(self.drafts.len())];
        let n_equal = drafts.iter().zip(tokens).take_while(|(draft, token)| draft == token).count();
        let computed = self.token_ids.len() + n_equal;
        self.token_ids.extend_from_slice(tokens);
        // Whoever goes on needs a row for the logits of its next token.
        let most = match verdict {
            Verdict::Continue => self.token_ids.len() - 1,
            Verdict::Stop => self.token_ids.len(),
        };
        let computed = computed.min(most).max(self.computed(cache));
        self.commit(computed, cache);
        if n_equal < n_drafts
            && let Some(lease) = &self.lease
        {
            cache.truncate(lease, computed);
        }
        self.drafts.clear();
        n_equal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_kept_in_order() {
        let mut results = Results::new();
        assert!(results.is_empty());
        results.push(&[TokenId(1), TokenId(2)], Verdict::Continue);
        results.push(&[], Verdict::Stop);
        results.push(&[TokenId(3)], Verdict::Stop);
        assert_eq!(results.get(0), (&[TokenId(1), TokenId(2)][..], Verdict::Continue));
        assert_eq!(results.get(1), (&[][..], Verdict::Stop));
        assert_eq!(results.get(2), (&[TokenId(3)][..], Verdict::Stop));
        assert_eq!(results.len(), 3);
    }
}
