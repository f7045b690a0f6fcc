//! The growing output of a generation: decodes tokens and searches the text for stop strings.

use sm_model::tokenizer::{SpecialTokens, TextStream};
use sm_tensor::TokenId;

use crate::grammar::Constraint;
use crate::stop::{StopMatcher, StopSearch};
use crate::text::{Text, TextStart};
use crate::{EosRule, Error, FinishReason, GenerationOptions, MatchedStop, StopRules, TokenEvent};

/// Bytes of text reserved per token.
pub(crate) const TEXT_BYTES_PER_TOKEN: usize = 6;
/// Maximum number of tokens to reserve for; longer outputs grow their lists.
pub(crate) const MAX_RESERVED: usize = 4096;

/// The output so far.
#[derive(Debug)]
pub(crate) struct Output {
    rules: StopRules,
    eos: Vec<TokenId>,
    /// The special tokens that are stop strings, with their text.
    stop_tokens: Vec<(TokenId, String)>,
    decoder: Option<TextStream>,
    matcher: StopMatcher,
    /// Special tokens whose text occurs in a stop string: matched, but not shown.
    controls: Vec<(TokenId, String)>,
    /// Initial text, until it is released; not searched for stop strings.
    head: String,
    n_head_bytes: usize,
    n_decoded_bytes: usize,
    /// All released text.
    text: String,
    /// End of each token in the decoded text, in bytes, excluding the token that ended the output.
    ends: Vec<usize>,
    /// The stop string that was found as a token.
    stop_token: Option<String>,
}

/// The tokens that end an output.
pub(crate) fn end_tokens(text: &Text, rules: &StopRules) -> Vec<TokenId> {
    let stop_tokens = stop_tokens(text, rules).map(|(token, _)| token);
    eos_tokens(text, rules).iter().chain(&rules.token_ids).copied().chain(stop_tokens).collect()
}

/// The special tokens whose written form is a stop string. It is not part of the output's text, and so not found there.
fn stop_tokens<'r>(text: &Text, rules: &'r StopRules) -> impl Iterator<Item = (TokenId, &'r String)> {
    rules.sequences.iter().filter_map(|stop| Some((text.special_token(stop)?, stop)))
}

fn eos_tokens<'t>(text: &'t Text, rules: &StopRules) -> &'t [TokenId] {
    match rules.eos {
        EosRule::Stop => text.eos(),
        EosRule::Ignore => &[],
    }
}

/// A finished output.
pub(crate) struct Finished {
    pub(crate) text: String,
    /// Number of tokens that make up the text: all but those of a removed stop string.
    pub(crate) n_tokens: usize,
    /// Number of generated tokens.
    pub(crate) n_generated: usize,
    /// The stop string that ended the output.
    pub(crate) stop_sequence: Option<String>,
}

impl Output {
    pub(crate) fn new(text: &Text, start: TextStart, options: &GenerationOptions) -> Self {
        let rules = &options.stop;
        let eos = eos_tokens(text, rules).to_vec();
        let matcher = StopMatcher::new(rules);
        let are_hidden = options.special_tokens == SpecialTokens::Skip;
        let controls = if are_hidden && !rules.sequences.is_empty() { text.controls() } else { &[] };
        let controls = controls.iter().filter(|(_, written)| matcher.knows(written)).cloned().collect();
        Self {
            rules: rules.clone(),
            eos,
            stop_tokens: stop_tokens(text, rules).map(|(token, stop)| (token, stop.clone())).collect(),
            decoder: text.stream(start, options.special_tokens),
            matcher,
            controls,
            head: String::new(),
            n_head_bytes: 0,
            n_decoded_bytes: 0,
            text: String::new(),
            ends: Vec::new(),
            stop_token: None,
        }
    }

    /// Reserves memory for `n_tokens` tokens, so that pushing them does not allocate.
    pub(crate) fn with_room(mut self, n_tokens: usize) -> Self {
        let n_tokens = n_tokens.min(MAX_RESERVED);
        self.ends.reserve(n_tokens);
        self.text.reserve(n_tokens * TEXT_BYTES_PER_TOKEN);
        self
    }

    /// Prepends a text, released with the first token.
    pub(crate) fn with_head(mut self, head: String) -> Self {
        self.n_head_bytes = head.len();
        self.head = head;
        self
    }

    /// Number of tokens in the output.
    pub(crate) fn n_tokens(&self) -> usize {
        self.ends.len()
    }

    /// Pushes the next token: sets the event's token, index and text, and returns the finish reason if the output ends.
    /// Advances the grammar, if any.
    ///
    /// # Errors
    /// If the grammar does not allow the token.
    pub(crate) fn push_within(
        &mut self,
        token: TokenId,
        constraint: Option<&mut Constraint>,
        event: &mut TokenEvent,
    ) -> Result<Option<FinishReason>, Error> {
        let reason = self.push(token, event);
        match constraint {
            Some(constraint) if reason.is_none() => {
                Ok(constraint.push(token)?.then_some(FinishReason::Complete))
            }
            _ => Ok(reason),
        }
    }

    /// As [`Output::push_within`], without a grammar.
    fn push(&mut self, token: TokenId, event: &mut TokenEvent) -> Option<FinishReason> {
        event.token = Some(token);
        event.index = self.ends.len();
        event.text.clear();
        self.begin(event);
        if self.rules.token_ids.contains(&token) {
            return Some(FinishReason::Stop);
        }
        if self.eos.contains(&token) {
            return Some(FinishReason::Eos);
        }
        if let Some(index) = self.stop_tokens.iter().position(|(stop, _)| *stop == token) {
            self.flush(event);
            let (_, stop) = &self.stop_tokens[index];
            self.stop_token = Some(stop.clone());
            if self.rules.matched == MatchedStop::Keep {
                event.text.push_str(stop);
                self.text.push_str(stop);
            }
            return Some(FinishReason::StopSequence);
        }
        let piece = self.decoder.as_mut().map_or("", |decoder| decoder.push(token));
        let n_shown = event.text.len();
        self.n_decoded_bytes += piece.len();
        self.ends.push(self.n_decoded_bytes);
        // Stop strings do not match before the minimum length.
        let mut search = if self.ends.len() < self.rules.min_new_tokens {
            event.text.push_str(piece);
            StopSearch::Nothing
        } else {
            self.matcher.push(piece, &mut event.text)
        };
        let written = self.controls.iter().find(|(control, _)| *control == token).map(|(_, written)| written);
        if let Some(written) = written.filter(|_| self.ends.len() >= self.rules.min_new_tokens)
            && search == StopSearch::Nothing
        {
            search = self.matcher.push_hidden(written, &mut event.text);
            if search == StopSearch::Found && self.rules.matched == MatchedStop::Remove {
                // A token without text within the text's bytes, but a part of what is removed.
                self.ends.last_mut().into_iter().for_each(|end| *end = usize::MAX);
            }
        }
        self.text.push_str(&event.text[n_shown..]);
        match search {
            StopSearch::Found => Some(FinishReason::StopSequence),
            StopSearch::Nothing => None,
        }
    }

    /// Releases the initial text.
    fn begin(&mut self, event: &mut TokenEvent) {
        event.text.push_str(&self.head);
        self.text.push_str(&self.head);
        self.head.clear();
    }

    /// Appends text that was held back to the last event.
    pub(crate) fn flush(&mut self, event: &mut TokenEvent) {
        self.begin(event);
        let n_shown = event.text.len();
        self.matcher.finish(&mut event.text);
        event.text.push_str(self.decoder.as_mut().map_or("", TextStream::finish));
        self.text.push_str(&event.text[n_shown..]);
    }

    /// The output, and how many tokens make up its text.
    pub(crate) fn finish(self, reason: FinishReason) -> Finished {
        let n_generated = self.ends.len();
        let n_tokens = match reason {
            FinishReason::StopSequence => self.n_tokens_within(self.text.len() - self.n_head_bytes),
            _ => n_generated,
        };
        let stop_sequence = self.stop_token.or_else(|| self.matcher.found().map(str::to_owned));
        let stop_sequence = stop_sequence.filter(|_| reason == FinishReason::StopSequence);
        Finished { text: self.text, n_tokens, n_generated, stop_sequence }
    }

    /// Number of tokens entirely within the first `n_bytes` bytes of decoded text. Tokens without text right before the
    /// first one outside are excluded: they may begin its first character.
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

#[cfg(test)]
mod tests {
    use sm_model::tokenizer::{CharTokenizer, UnknownCharacter};
    use std::sync::Arc;

    use super::*;

    #[test]
    fn tokens_reaching_into_a_removed_stop_string_are_not_counted() {
        let tokenizer = CharTokenizer::new("abcdé", UnknownCharacter::Error).unwrap();
        let text = Text::new(Some(Arc::new(tokenizer)));
        let rules = StopRules { sequences: vec!["cé".into()], ..StopRules::default() };
        let mut output = Output::new(&text, TextStart::Continued, &GenerationOptions::new().stop(rules));
        let mut event = TokenEvent::default();
        let reasons = [0, 1, 2, 4].map(|id| output.push(TokenId(id), &mut event));
        assert_eq!(reasons, [None, None, None, Some(FinishReason::StopSequence)]);
        let finished = output.finish(FinishReason::StopSequence);
        assert_eq!((finished.text.as_str(), finished.n_tokens, finished.n_generated), ("ab", 2, 4));
        assert_eq!(finished.stop_sequence.as_deref(), Some("cé"));
    }

    #[test]
    fn the_beginning_of_a_cut_character_is_not_counted() {
        let rules = StopRules::default();
        let text = Text::new(None);
        let mut output = Output::new(&text, TextStart::Continued, &GenerationOptions::new().stop(rules));
        // Five tokens: two letters, two that begin a character, and one that completes it and goes on.
        output.ends = vec![1, 2, 2, 2, 7];
        assert_eq!(output.n_tokens_within(2), 2);
        assert_eq!(output.n_tokens_within(1), 1);
        assert_eq!(output.n_tokens_within(6), 2);
        assert_eq!(output.n_tokens_within(7), 5);
        assert_eq!(output.n_tokens_within(0), 0);
    }
}
