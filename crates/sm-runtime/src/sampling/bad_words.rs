//! Keeps strings out of the output.

use std::sync::Arc;

use super::{History, LogitsFilter};
use crate::text::TokenTexts;

/// Forbids every token that would make the output contain one of some strings, however they are tokenized: tokens that contain
/// one, and tokens that start with the rest of one that the output ends in.
#[derive(Clone, Debug)]
pub struct BadWords {
    /// Sorted; none is a prefix of another, which would always match first.
    words: Vec<Vec<u8>>,
    /// Tokens that contain a word.
    holders: Vec<u32>,
    texts: Arc<TokenTexts>,
}

impl BadWords {
    /// The filter for nonempty strings.
    pub(crate) fn new(words: &[String], texts: Arc<TokenTexts>) -> Self {
        let mut sorted: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        sorted.sort_unstable();
        let mut words: Vec<Vec<u8>> = Vec::with_capacity(sorted.len());
        for word in sorted {
            if !words.last().is_some_and(|shorter| word.starts_with(shorter)) {
                words.push(word);
            }
        }
        let holds = |text: &[u8]| (0..text.len()).any(|start| begins_with_any(&text[start..], &words));
        let holders = texts.iter().filter(|(_, text)| holds(text)).map(|(token, _)| token.0).collect();
        Self { words, holders, texts }
    }

    /// Visits the tokens that start with the rest of a word that starts with `begun`.
    ///
    /// Rests and tokens are sorted, so each search skips what lies before the next of the other: with a hundred thousand words, few
    /// of which any token continues, most are never looked at.
    fn visit_continuations(&self, begun: &[u8], visit: &mut dyn FnMut(u32)) {
        let first = self.words.partition_point(|word| word.as_slice() < begun);
        let words = &self.words[first..];
        let mut words = &words[..words.partition_point(|word| word.starts_with(begun))];
        let mut tokens = self.texts.sorted();
        while let Some((word, others)) = words.split_first() {
            words = others;
            // The output does not contain a whole word.
            let rest = &word[begun.len()..];
            if rest.is_empty() {
                continue;
            }
            tokens = &tokens[tokens.partition_point(|token| self.texts.of(*token) < rest)..];
            let n_continuing = tokens.partition_point(|token| self.texts.of(*token).starts_with(rest));
            tokens[..n_continuing].iter().for_each(|token| visit(token.0));
            tokens = &tokens[n_continuing..];
            let Some(token) = tokens.first() else { return };
            // Of the rests up to the next token, only the last can be its beginning, for none is a prefix of another.
            let text = self.texts.of(*token);
            let n_before = words.partition_point(|word| &word[begun.len()..] <= text);
            words = &words[n_before.saturating_sub(1)..];
        }
    }

    /// The end of the output, as long as the longest proper prefix of a word.
    fn tail(&self, history: &History<'_>) -> Vec<u8> {
        let longest = self.words.iter().map(Vec::len).max().unwrap_or(0);
        let mut reversed: Vec<u8> = Vec::new();
        for token in history.generated().iter().rev() {
            if reversed.len() + 1 >= longest {
                break;
            }
            reversed.extend(self.texts.of(*token).iter().rev());
        }
        reversed.truncate(longest.saturating_sub(1));
        reversed.reverse();
        reversed
    }
}

/// Whether a text starts with one of `words`, which are sorted and prefix-free.
fn begins_with_any(text: &[u8], words: &[Vec<u8>]) -> bool {
    let n_not_after = words.partition_point(|word| word.as_slice() <= text);
    n_not_after > 0 && text.starts_with(&words[n_not_after - 1])
}

impl LogitsFilter for BadWords {
    fn apply(&self, logits: &mut [f32], history: &mut History<'_>) {
        let mut forbid = |token: u32| {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = f32::NEG_INFINITY;
            }
        };
        self.holders.iter().for_each(|token| forbid(*token));
        let tail = self.tail(history);
        for start in 0..tail.len() {
            self.visit_continuations(&tail[start..], &mut forbid);
        }
    }
}
