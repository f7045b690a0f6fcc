//! The output of one generation while it grows: tokens become text, text is searched for stop strings.

use sm_tensor::TokenId;

use crate::stop::{StopMatcher, StopSearch};
use crate::text::{TextCodec, TextStream};
use crate::{EosRule, Error, FinishReason, StopRules, TokenEvent};

/// The output so far.
pub(crate) struct Output<'a> {
    rules: &'a StopRules,
    eos: &'a [TokenId],
    decoder: Box<dyn TextStream + 'a>,
    matcher: StopMatcher,
    /// What the last token completed.
    piece: String,
    n_decoded_bytes: usize,
    /// All text that may be shown.
    text: String,
    /// Bytes of decoded text up to the end of each token, the one that ended the output left out.
    ends: Vec<usize>,
}

/// A finished output.
pub(crate) struct Finished {
    pub(crate) text: String,
    /// How many of the tokens make up the text: all but those of a removed stop string.
    pub(crate) n_tokens: usize,
    /// How many tokens were generated.
    pub(crate) n_generated: usize,
}

impl<'a> Output<'a> {
    pub(crate) fn new(codec: &'a dyn TextCodec, rules: &'a StopRules) -> Self {
        let eos = match rules.eos {
            EosRule::Stop => codec.eos(),
            EosRule::Ignore => &[],
        };
        Self {
            rules,
            eos,
            decoder: codec.stream(),
            matcher: StopMatcher::new(rules),
            piece: String::new(),
            n_decoded_bytes: 0,
            text: String::new(),
            ends: Vec::new(),
        }
    }

    /// Number of tokens in the output.
    pub(crate) fn n_tokens(&self) -> usize {
        self.ends.len()
    }

    /// Forbids the tokens that would end the output before its minimum length.
    pub(crate) fn forbid_early_end(&self, logits: &mut [f32]) {
        if self.ends.len() >= self.rules.min_new_tokens {
            return;
        }
        for token in self.eos.iter().chain(&self.rules.token_ids) {
            if let Some(logit) = logits.get_mut(token.0 as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }

    /// Takes the next token: sets the event's token, index and text, and says whether the output ends with it.
    pub(crate) fn push(
        &mut self,
        token: TokenId,
        event: &mut TokenEvent,
    ) -> Result<Option<FinishReason>, Error> {
        event.token = Some(token);
        event.index = self.ends.len();
        event.text.clear();
        if self.rules.token_ids.contains(&token) {
            return Ok(Some(FinishReason::Stop));
        }
        if self.eos.contains(&token) {
            return Ok(Some(FinishReason::Eos));
        }
        self.piece.clear();
        self.decoder.push(token, &mut self.piece)?;
        self.n_decoded_bytes += self.piece.len();
        self.ends.push(self.n_decoded_bytes);
        let search = self.search(event);
        self.text.push_str(&event.text);
        match search {
            StopSearch::Found => Ok(Some(FinishReason::StopSequence)),
            StopSearch::Nothing => Ok(None),
        }
    }

    /// Passes the last piece on; stop strings do not match before the minimum length.
    fn search(&mut self, event: &mut TokenEvent) -> StopSearch {
        if self.ends.len() < self.rules.min_new_tokens {
            event.text.push_str(&self.piece);
            return StopSearch::Nothing;
        }
        self.matcher.push(&self.piece, &mut event.text)
    }

    /// Appends to the last event what was held back.
    pub(crate) fn flush(&mut self, event: &mut TokenEvent) {
        let n_shown = event.text.len();
        self.matcher.finish(&mut event.text);
        self.decoder.finish(&mut event.text);
        self.text.push_str(&event.text[n_shown..]);
    }

    /// The output, and how many tokens make up its text.
    pub(crate) fn finish(self, reason: FinishReason) -> Finished {
        let n_generated = self.ends.len();
        let n_tokens = match reason {
            FinishReason::StopSequence => self.n_tokens_within(self.text.len()),
            _ => n_generated,
        };
        Finished { text: self.text, n_tokens, n_generated }
    }

    /// How many tokens lie wholly within the first `n_bytes` bytes of decoded text. Tokens without text before the
    /// first that does not are left out: they may be the beginning of its first character.
    fn n_tokens_within(&self, n_bytes: usize) -> usize {
        let mut n_tokens = self.ends.partition_point(|&end| end <= n_bytes);
        if n_tokens == self.ends.len() {
            return n_tokens;
        }
        let start = |idx: usize| if idx == 0 { 0 } else { self.ends[idx - 1] };
        while n_tokens > 0 && self.ends[n_tokens - 1] == start(n_tokens - 1) {
            n_tokens -= 1;
        }
        n_tokens
    }
}
