//! Excludes the most likely tokens, for less predictable text
//! ([XTC, Exclude Top Choices](https://github.com/oobabooga/text-generation-webui/pull/6335)).
//!
//! With the given probability, drops all tokens at or above the threshold except the least likely of them, as in llama.cpp. The
//! random number is a function of the draw, so there is no state.

use super::gumbel::uniform;
use super::{Candidate, Candidates, Draw};
use crate::XtcOptions;

impl Candidates {
    /// Drops all likely candidates but the least likely, if the draw says so.
    pub(crate) fn exclude_top(&mut self, xtc: XtcOptions, temperature: f64, draw: Draw) {
        let can_exclude = xtc.probability > 0.0 && xtc.threshold <= 0.5 && self.list.len() > 1;
        if !can_exclude || uniform(draw) > f64::from(xtc.probability) {
            return;
        }
        self.list.sort_unstable_by(Candidate::rank);
        let softmax = self.softmax(temperature);
        let is_likely = |each: &&Candidate| softmax.probability(each) >= f64::from(xtc.threshold);
        let n_likely = self.list.iter().take_while(is_likely).count();
        self.list.drain(..n_likely.saturating_sub(1));
    }
}
