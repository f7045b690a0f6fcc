//! Tells the caller how far the prompt is.

use std::time::Duration;

use sm_batching::StepPart;

use super::ActiveRequest;
use crate::{PrefillProgress, TokenEvent};

/// What has been told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PrefillReport {
    /// `None` before the first event.
    computed_tokens: Option<usize>,
}

impl ActiveRequest {
    /// Tells of a part of a step that has computed some of the prompt.
    pub(crate) fn report_part(&mut self, part: &StepPart) {
        if self.prefill.is_some() {
            let time = self.times.started.map_or(Duration::ZERO, |started| started.elapsed());
            self.report_prefill(part.start + part.n_rows, time);
        }
    }

    /// Tells that the positions before `end` are computed, unless that is known: a step may be repeated, and a request that was
    /// preempted computes its prompt again.
    pub(super) fn report_prefill(&mut self, end: usize, time: Duration) {
        let Some(report) = &mut self.prefill else { return };
        let computed_tokens = end.min(self.usage.prompt_tokens);
        if report.computed_tokens.is_some_and(|told| told >= computed_tokens) {
            return;
        }
        report.computed_tokens = Some(computed_tokens);
        let progress = PrefillProgress {
            prompt_tokens: self.usage.prompt_tokens,
            cached_tokens: self.usage.cached_tokens,
            computed_tokens,
            time,
        };
        self.responder.ticket().push(&TokenEvent { prefill: Some(progress), ..TokenEvent::default() });
    }
}
