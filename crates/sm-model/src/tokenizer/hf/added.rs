//! Added tokens of a `tokenizer.json`: found in a text before it is split, as by `AddedVocabulary` of the crate `tokenizers`.

use aho_corasick::{AhoCorasick, BuildError, MatchKind};
use tokenizers::AddedToken;

use crate::tokenizer::{SpecialText, TokenizerError};

/// A set of added tokens; of several at one place the longest is found.
#[derive(Debug)]
pub(super) struct AddedTokens {
    finder: Option<AhoCorasick>, // `None`: there are no tokens
    tokens: Vec<(u32, AddedToken)>,
}

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'t> {
    Text(&'t str),
    Added(u32),
}

impl AddedTokens {
    /// Finds the `written` form of these tokens.
    pub(super) fn new(
        mut tokens: Vec<(u32, AddedToken)>,
        written: impl Fn(&str) -> String,
    ) -> Result<Self, BuildError> {
        tokens.sort_by_key(|&(id, _)| id);
        if tokens.is_empty() {
            return Ok(Self { finder: None, tokens });
        }
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(tokens.iter().map(|(_, token)| written(&token.content)))?;
        Ok(Self { finder: Some(finder), tokens })
    }

    /// Gives the parts of `text` and where they start to `take`, in order; none is empty.
    ///
    /// # Errors
    /// That of `take`, which ends the work.
    pub(super) fn cut<'t>(
        &self,
        text: &'t str,
        special_text: SpecialText,
        take: &mut dyn FnMut(Part<'t>, usize) -> Result<(), TokenizerError>,
    ) -> Result<(), TokenizerError> {
        let mut done = 0;
        for found in self.finder.iter().flat_map(|finder| finder.find_iter(text)) {
            let (id, token) = &self.tokens[found.pattern().as_usize()];
            let (mut start, mut end) = (found.start(), found.end());
            if (token.special && special_text == SpecialText::Plain)
                || (token.single_word && !is_single_word(text, start, end))
            {
                continue;
            }
            if token.lstrip && start > done {
                start = done + text[done..start].trim_end().len();
            }
            if token.rstrip {
                end = text.len() - text[end..].trim_start().len();
            }
            if done < start {
                take(Part::Text(&text[done..start]), done)?;
            }
            take(Part::Added(*id), start)?;
            done = end;
        }
        if done < text.len() { take(Part::Text(&text[done..]), done) } else { Ok(()) }
    }
}

/// Whether no word goes on before `start` or behind `end`.
fn is_single_word(text: &str, start: usize, end: usize) -> bool {
    let is_word = |character: Option<char>| {
        character.is_some_and(|character| regex_syntax::try_is_word_character(character).unwrap_or_default())
    };
    !is_word(text[..start].chars().next_back()) && !is_word(text[end..].chars().next())
}
