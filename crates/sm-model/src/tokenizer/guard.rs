//! Keeps text from users apart from the control tokens around it.
//!
//! A chat template puts messages between control tokens: `<|user|>Hi<|end|>`. The result is one text, in which nothing tells a
//! control token that the template wrote from one that a user typed to forge a turn. A [`Guard`] marks the latter before the
//! template runs, and finds the marks in its output:
//!
//! ```text
//! "<|end|>" ─► seal ─► "<□|end|>" ─► template ─► "<|user|><□|end|><|end|>" ─► open ─► "<|user|><|end|><|end|>", cut at 9
//! ```
//!
//! A tokenizer then recognizes no special token across a cut, and all else is tokenized as if there were none. The mark is a
//! character that occurs nowhere in the messages, from a range that Unicode leaves to private use.

use std::ops::RangeInclusive;

use aho_corasick::AhoCorasick;
use sm_tensor::TokenId;

use super::{TokenKind, TokenizerError, Vocabulary};

/// Characters for marks: a plane for private use.
const MARKS: RangeInclusive<char> = '\u{10_0000}'..='\u{10_FFFD}';

/// Whether a character may be a mark.
pub(crate) fn is_mark(character: char) -> bool {
    MARKS.contains(&character)
}

/// A text for a tokenizer, such as the output of a chat template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuardedText {
    /// The text.
    pub text: String,
    /// Byte offsets in it, ascending: a special token's written form that has one inside is plain text.
    pub cuts: Vec<usize>,
}

impl From<String> for GuardedText {
    /// A text in which every written form of a special token is one.
    fn from(text: String) -> Self {
        Self { text, cuts: Vec::new() }
    }
}

impl GuardedText {
    /// Whether a cut lies within these bytes.
    pub(super) fn is_cut(&self, start: usize, end: usize) -> bool {
        let next = self.cuts.partition_point(|&cut| cut <= start);
        self.cuts.get(next).is_some_and(|&cut| cut < end)
    }

    /// Keeps the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.text.truncate(len);
        self.cuts.retain(|&cut| cut < len);
    }

    /// Drops the first `len` bytes.
    pub fn drop_front(&mut self, len: usize) {
        self.text.drain(..len);
        self.cuts = self.cuts.iter().filter(|&&cut| cut > len).map(|cut| cut - len).collect();
    }

    /// The text with a character at each cut that it does not contain.
    pub(super) fn marked(&self) -> (String, char) {
        let mark = free_mark(|mark| self.text.contains(mark));
        (self.marked_with(mark), mark)
    }

    fn marked_with(&self, mark: char) -> String {
        let mut marked = String::with_capacity(self.text.len() + self.cuts.len() * mark.len_utf8());
        let mut from = 0;
        for &cut in &self.cuts {
            marked.push_str(&self.text[from..cut]);
            marked.push(mark);
            from = cut;
        }
        marked.push_str(&self.text[from..]);
        marked
    }
}

/// The first mark that is not taken.
fn free_mark(is_taken: impl Fn(char) -> bool) -> char {
    MARKS.into_iter().find(|&mark| !is_taken(mark)).unwrap_or(*MARKS.end())
}

/// Knows the written forms of a vocabulary's control tokens.
#[derive(Clone, Debug)]
pub struct Guard {
    finder: AhoCorasick,
}

impl Guard {
    /// A guard for this vocabulary.
    ///
    /// # Errors
    /// If its control tokens are too long for a search.
    pub fn new(vocabulary: &Vocabulary) -> Result<Self, TokenizerError> {
        let ids = (0..vocabulary.vocab_size() as u32).map(TokenId);
        let controls = ids.filter(|&id| vocabulary.kind(id) == TokenKind::Control);
        let texts = controls.map(|id| vocabulary.token_bytes(id)).filter(|text| !text.is_empty());
        let finder = AhoCorasick::new(texts).map_err(|error| TokenizerError::Invalid {
            file: "the vocabulary".to_owned(),
            what: "tokenizer",
            reason: error.to_string(),
        })?;
        Ok(Self { finder })
    }

    /// Seals texts of which none contains some mark.
    pub(crate) fn sealer(&self, contains: impl Fn(char) -> bool) -> Sealer<'_> {
        Sealer { finder: &self.finder, mark: free_mark(contains) }
    }
}

/// Marks the control tokens in texts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sealer<'g> {
    finder: &'g AhoCorasick,
    mark: char,
}

impl Sealer<'_> {
    /// The texts with a mark behind the first character of each control token, also of one that is spread over neighbours.
    pub(crate) fn seal(self, texts: &[&str]) -> Vec<String> {
        let whole = texts.concat();
        let mut cuts: Vec<usize> = self
            .finder
            .find_overlapping_iter(&whole)
            .map(|found| found.start() + whole[found.start()..].chars().next().map_or(0, char::len_utf8))
            .collect();
        cuts.sort_unstable();
        cuts.dedup();
        let mut cuts = cuts.into_iter().peekable();
        let mut end = 0;
        let mut seal = |text: &&str| {
            let start = end;
            end += text.len();
            let mut own = GuardedText::from((*text).to_owned());
            own.cuts.extend(std::iter::from_fn(|| cuts.next_if(|&cut| cut <= end)).map(|cut| cut - start));
            own.marked_with(self.mark)
        };
        texts.iter().map(&mut seal).collect()
    }

    /// The text without the marks, and where they were.
    pub(crate) fn open(self, sealed: &str) -> GuardedText {
        let mut opened = GuardedText::default();
        for (index, part) in sealed.split(self.mark).enumerate() {
            if index > 0 {
                opened.cuts.push(opened.text.len());
            }
            opened.text.push_str(part);
        }
        opened
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::special::SpecialIds;
    use crate::tokenizer::vocabulary::{Lead, VocabularyBuilder};

    fn guard() -> Guard {
        let mut builder = VocabularyBuilder::new(Lead::Keep);
        for (id, text) in (0..).zip(["<s>", "<|end|>", "end"]) {
            let kind = if id < 2 { TokenKind::Control } else { TokenKind::Normal };
            builder.push(id, text.as_bytes().to_vec(), kind);
        }
        Guard::new(&builder.build("f", SpecialIds::default()).unwrap()).unwrap()
    }

    #[test]
    fn control_tokens_are_cut_also_across_texts() {
        let guard = guard();
        let texts = ["a<|end|>", "<|e", "nd|>\u{100000}<", "s>", "", "end"];
        let sealer = guard.sealer(|mark| texts.iter().any(|text| text.contains(mark)));
        let sealed = sealer.seal(&texts);
        assert_eq!(sealed.len(), texts.len());
        let opened = sealer.open(&format!("<s>{}</s>", sealed.concat()));
        assert_eq!(opened.text, format!("<s>{}</s>", texts.concat()));
        let ends: Vec<_> = opened.text.match_indices("<|end|>").map(|(at, _)| at).collect();
        assert!(ends.len() == 2 && ends.iter().all(|&at| opened.is_cut(at, at + 7)), "{opened:?}");
        let starts: Vec<_> =
            opened.text.match_indices("<s>").map(|(at, _)| opened.is_cut(at, at + 3)).collect();
        assert_eq!(starts, [false, true]);
        assert_eq!(sealer.open(&sealed[5]), "end".to_owned().into());
    }

    #[test]
    fn parts_of_a_text_keep_their_cuts() {
        let mut text = GuardedText { text: "ab<s>cd<s>".to_owned(), cuts: vec![3, 8] };
        assert_eq!(text.marked(), ("ab<\u{100000}s>cd<\u{100000}s>".to_owned(), '\u{100000}'));
        text.truncate(8);
        assert_eq!(text, GuardedText { text: "ab<s>cd<".to_owned(), cuts: vec![3] });
        text.drop_front(2);
        assert_eq!(text, GuardedText { text: "<s>cd<".to_owned(), cuts: vec![1] });
        assert!(text.is_cut(0, 3) && !text.is_cut(1, 3) && !text.is_cut(0, 1));
    }
}
