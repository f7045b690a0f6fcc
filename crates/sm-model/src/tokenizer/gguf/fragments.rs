//! Splits text at special tokens before encoding.
//!
//! As in `tokenizer_st_partition` of llama.cpp: longer tokens first, each at every occurrence in the remaining text.

use aho_corasick::AhoCorasick;
use sm_tensor::TokenId;

use super::tokens::{TokenType, Tokens, invalid};
use crate::tokenizer::{GuardedText, SpecialText, TokenizerError};

/// The special tokens of Phi-3 that keep the spaces after them; all others swallow them.
pub(super) const PHI3_KEEPS_SPACES: &[&str] = &["<unk>", "<s>", "<|endoftext|>"];

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fragment<'a> {
    Text(&'a str),
    Special(TokenId),
}

/// All special tokens, longest first, so that the longer of two overlapping ones wins.
#[derive(Debug)]
pub(super) struct SpecialTexts {
    specials: Vec<SpecialToken>,
    finder: AhoCorasick,
}

#[derive(Debug)]
struct SpecialToken {
    text: String,
    id: TokenId,
    /// Recognized even if special tokens are treated as plain text.
    user_defined: bool,
    drops_spaces_after: bool,
}

impl SpecialTexts {
    /// `keep_spaces`: if given, all special tokens except these swallow the white space after them.
    pub(super) fn new(tokens: &Tokens<'_>, keep_spaces: Option<&[&str]>) -> Result<Self, TokenizerError> {
        let mut specials = Vec::new();
        for (id, text) in (0..).zip(tokens.texts) {
            let kind = tokens.kind(id);
            if text.is_empty()
                || !matches!(kind, TokenType::Control | TokenType::UserDefined | TokenType::Unknown)
            {
                continue;
            }
            specials.push(SpecialToken {
                text: text.clone(),
                id: TokenId(id),
                user_defined: kind == TokenType::UserDefined,
                drops_spaces_after: keep_spaces.is_some_and(|kept| !kept.contains(&text.as_str())),
            });
        }
        specials.sort_by_key(|special| std::cmp::Reverse(special.text.len()));
        let finder = AhoCorasick::new(specials.iter().map(|special| &special.text));
        Ok(Self { specials, finder: finder.map_err(|error| invalid(error.to_string()))? })
    }

    /// Splits `text` at its special tokens.
    pub(super) fn split<'a>(&self, text: &'a str, special_text: SpecialText) -> Vec<Fragment<'a>> {
        self.split_where(text, |special, _| special_text == SpecialText::Parse || special.user_defined)
    }

    /// Cuts a text at the special tokens that it is not cut within itself.
    pub(super) fn split_guarded<'a>(&self, text: &'a GuardedText) -> Vec<Fragment<'a>> {
        self.split_where(&text.text, |special, start| {
            special.user_defined || !text.is_cut(start, start + special.text.len())
        })
    }

    /// Cuts `text` at the special tokens that `is_found` accepts, given where they start.
    fn split_where<'a>(
        &self,
        text: &'a str,
        is_found: impl Fn(&SpecialToken, usize) -> bool,
    ) -> Vec<Fragment<'a>> {
        // A vocabulary may have thousands of special tokens, of which a text has few. One pass finds which.
        let mut is_present = vec![false; self.specials.len()];
        for found in self.finder.find_overlapping_iter(text) {
            is_present[found.pattern().as_usize()] = true;
        }
        let mut fragments = if text.is_empty() { Vec::new() } else { vec![Fragment::Text(text)] };
        for (special, _) in self.specials.iter().zip(is_present).filter(|(_, is_present)| *is_present) {
            let is_found = |part: &str| is_found(special, part.as_ptr().addr() - text.as_ptr().addr());
            fragments = fragments.into_iter().flat_map(|part| special.cut(part, is_found)).collect();
        }
        fragments
    }
}

impl SpecialToken {
    /// Cuts a fragment at the occurrences that `is_found` accepts; it is given the text from there on.
    fn cut<'a>(&self, fragment: Fragment<'a>, is_found: impl Fn(&str) -> bool) -> Vec<Fragment<'a>> {
        let Fragment::Text(mut rest) = fragment else { return vec![fragment] };
        let mut parts = Vec::new();
        let find =
            |rest: &str| rest.match_indices(&self.text).map(|(at, _)| at).find(|&at| is_found(&rest[at..]));
        while let Some(at) = find(rest) {
            if at > 0 {
                parts.push(Fragment::Text(&rest[..at]));
            }
            parts.push(Fragment::Special(self.id));
            rest = &rest[at + self.text.len()..];
            if self.drops_spaces_after {
                rest = rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}']);
            }
        }
        if !rest.is_empty() {
            parts.push(Fragment::Text(rest));
        }
        parts
    }
}
