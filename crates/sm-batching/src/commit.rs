//! Commit: appends a step's results to the sequences.
//!
//! For each part of the step: its positions count as computed; a prompt with several choices is forked; sampled tokens are
//! appended; positions of rejected drafts are discarded; and sequences that reached their length or a stop verdict end.
//!
//! ```text
//! token_ids … b, drafts x y z, sampled x y Q        x, y accepted, z rejected
//! computed  … b x y z  →  truncated to … b x y      Q is known but not computed: its row is in the next step
//! states    kept after b, x, y and z                that after y becomes the current one
//! ```

use sm_cache::KvCache;
use sm_tensor::TokenId;

use crate::config::BatchingConfig;
use crate::request::EndReason;
use crate::results::{Results, Verdict};
use crate::sequences::Sequences;
use crate::step::StepPart;

/// State that a commit reads and modifies.
#[derive(Debug)]
pub(crate) struct Commit<'a> {
    pub(crate) sequences: &'a mut Sequences,
    pub(crate) results: &'a Results,
    pub(crate) config: &'a BatchingConfig,
    pub(crate) cache: &'a mut KvCache,
}

impl Commit<'_> {
    /// Commits all parts of a step, skipping sequences cancelled in the meantime.
    pub(crate) fn parts(&mut self, parts: &[StepPart]) {
        let mut first_result = 0;
        for part in parts {
            if let Some(index) = self.sequences.running.position(part.id) {
                self.part(index, part, first_result);
            }
            first_result += part.n_results();
        }
    }

    fn part(&mut self, index: usize, part: &StepPart, first_result: usize) {
        let sequence = self.sequences.running.get_mut(index);
        let computed = part.start + part.n_rows;
        sequence.n_scored =
            sequence.n_scored.map(|n_scored| n_scored.max(computed.min(sequence.n_prompt - 1)));
        if part.n_sampled == 0 {
            sequence.commit(computed, self.cache);
            if !sequence.samples() && computed == sequence.token_ids.len() {
                self.sequences.end_running(index, EndReason::Length, self.cache);
            }
            return;
        }
        if part.n_choices > 1 {
            sequence.commit(sequence.token_ids.len(), self.cache);
            self.sequences.fork(index, self.cache);
        }
        // Choices are adjacent. Iterate backwards, so that removing one does not move those still to be processed.
        for choice in (0..part.n_choices as usize).rev() {
            let (tokens, verdict) = self.results.get(first_result + choice);
            self.sampled(index + choice, tokens, verdict);
        }
    }

    fn sampled(&mut self, index: usize, tokens: &[TokenId], verdict: Verdict) {
        let sequence = self.sequences.running.get_mut(index);
        let n_tokens = tokens.len().min(sequence.max_len - sequence.token_ids.len());
        let n_accepted = sequence.accept(&tokens[..n_tokens], verdict, self.cache);
        let stats = &mut self.sequences.stats;
        stats.accepted_drafts += n_accepted as u64;
        stats.generated_tokens += n_tokens as u64;
        self.sequences.fairness.charge(sequence.client, self.config.output_service(n_tokens));
        let reason = match verdict {
            Verdict::Stop => EndReason::Stopped,
            Verdict::Continue if sequence.samples() => return,
            Verdict::Continue => EndReason::Length,
        };
        self.sequences.end_running(index, reason, self.cache);
    }
}
