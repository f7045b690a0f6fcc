//! Text that is sent for several tokens at a time.

use sm_runtime::TokenEvent;

/// Holds the text of tokens until it is due: with the first token, every so many tokens, and with the last. Where a text is cut depends
/// on its tokens, then, and not on when they come.
#[derive(Clone, Debug)]
pub(crate) struct Interval {
    n_tokens: usize,
    held: String,
}

impl Interval {
    pub(crate) fn new(n_tokens: usize) -> Self {
        Self { n_tokens, held: String::new() }
    }

    /// The text that is due with an event.
    pub(crate) fn text(&mut self, event: &TokenEvent) -> String {
        self.held.push_str(&event.text);
        let is_due = event.index.is_multiple_of(self.n_tokens) || event.finish_reason.is_some();
        if is_due { self.rest() } else { String::new() }
    }

    /// The text that is held, for an answer that ends without a last token.
    pub(crate) fn rest(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use sm_runtime::FinishReason;

    use super::*;

    #[test]
    fn a_text_is_cut_at_every_so_many_tokens_and_nothing_is_lost() {
        let event = |index: usize, finish_reason| {
            let mut event = TokenEvent::default();
            event.index = index;
            event.text = index.to_string();
            event.finish_reason = finish_reason;
            event
        };
        let mut interval = Interval::new(3);
        let due: Vec<_> = (0..5).map(|index| interval.text(&event(index, None))).collect();
        assert_eq!(due, ["0", "", "", "123", ""]);
        assert_eq!(interval.text(&event(5, Some(FinishReason::Eos))), "45");
        assert_eq!(interval.text(&event(7, None)), "");
        assert_eq!(interval.rest(), "7");
        let mut interval = Interval::new(1);
        assert_eq!(
            (0..3).map(|index| interval.text(&event(index, None))).collect::<Vec<_>>(),
            ["0", "1", "2"]
        );
    }
}
