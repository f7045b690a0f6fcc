//! Files that the crate `tokenizers` runs.
//!
//! What it takes is out of our hands: some hundred bytes of memory per byte of text. So a text that cannot have few enough tokens is
//! refused by its length. And where one of its expressions gives up on a text, it would split the rest in no way at all; the
//! expressions are tried on the text first, which makes that an error.

use fancy_regex::Regex;
use serde_json::Value;
use sm_tensor::TokenId;
use tokenizers::pre_tokenizers::split::SplitPattern;
use tokenizers::{
    AddedVocabulary, Model, OffsetType, PreTokenizedString, PreTokenizer, PreTokenizerWrapper,
    Tokenizer as Library,
};

use super::guarded;
use crate::tokenizer::split::GPT2;
use crate::tokenizer::{SpecialText, TokenizerError, within};

/// A tokenizer of the library.
#[derive(Debug)]
pub(super) struct ByLibrary {
    library: Library,
    plain: AddedVocabulary, // that of `library`, but blind to control tokens
    /// Those of the normalizer, which see nearly the whole text.
    normalizer: Vec<Regex>,
    /// Those of the pre-tokenizer, each with the step that runs it.
    steps: Vec<(Option<Regex>, PreTokenizerWrapper)>,
    longest_token: usize, // bytes
}

impl ByLibrary {
    /// Takes over a tokenizer; `normalizer` is that of its file.
    ///
    /// # Errors
    /// If an expression is malformed.
    pub(super) fn new(library: Library, normalizer: &Value, longest_token: usize) -> Result<Self, String> {
        let mut plain = library.get_added_vocabulary().clone();
        plain.set_encode_special_tokens(true);
        let mut patterns = Vec::new();
        collect(normalizer, &mut patterns);
        let normalizer = patterns.into_iter().map(compile).collect::<Result<_, _>>()?;
        let mut steps = Vec::new();
        if let Some(splitter) = library.get_pre_tokenizer() {
            add_steps(splitter, &mut steps)?;
        }
        Ok(Self { library, plain, normalizer, steps, longest_token })
    }

    /// The ids of a text whose characters `mark`, if any, are not part of it.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`], [`TokenizerError::TooManyTokens`]
    pub(super) fn encode(
        &self,
        text: &str,
        special_text: SpecialText,
        mark: Option<char>,
        limit: usize,
    ) -> Result<Vec<TokenId>, TokenizerError> {
        let n_marks = mark.map_or(0, |mark| text.matches(mark).count());
        let n_bytes = text.len() - n_marks * mark.map_or(0, char::len_utf8);
        let at_least = n_bytes.div_ceil(self.longest_token.max(1));
        if at_least > limit {
            return Err(TokenizerError::TooManyTokens { limit, n_bytes, at_least });
        }
        let encode = || {
            for regex in &self.normalizer {
                attempt(regex, text)?;
            }
            let added = match special_text {
                SpecialText::Parse => self.library.get_added_vocabulary(),
                SpecialText::Plain => &self.plain,
            };
            let mut pieces = added.extract_and_normalize(self.library.get_normalizer(), text);
            if let Some(mark) = mark {
                pieces.normalize(|piece| piece.replace(mark, ""))?;
            }
            for (regex, step) in &self.steps {
                if let Some(regex) = regex {
                    attempt_on_pieces(regex, &mut pieces)?;
                }
                step.pre_tokenize(&mut pieces)?;
            }
            pieces.tokenize(|piece| self.library.get_model().tokenize(piece.get()))?;
            let encoding = pieces.into_encoding(None, 0, OffsetType::None)?;
            Ok(encoding.get_ids().iter().copied().map(TokenId).collect())
        };
        let ids: Vec<TokenId> =
            guarded(encode).map_err(|reason| TokenizerError::Encode { n_bytes, reason })?;
        within(limit, n_bytes, &ids)?;
        Ok(ids)
    }
}

/// Runs an expression over a text, for its error.
fn attempt(regex: &Regex, text: &str) -> tokenizers::Result<()> {
    regex.find_iter(text).try_for_each(|found| found.map(|_| ()))?;
    Ok(())
}

fn attempt_on_pieces(regex: &Regex, pieces: &mut PreTokenizedString) -> tokenizers::Result<()> {
    pieces.split(|_, piece| {
        attempt(regex, piece.get())?;
        Ok([piece])
    })
}

/// The steps of a pre-tokenizer, with their expressions.
fn add_steps(
    splitter: &PreTokenizerWrapper,
    steps: &mut Vec<(Option<Regex>, PreTokenizerWrapper)>,
) -> Result<(), String> {
    let regex = match splitter {
        PreTokenizerWrapper::Sequence(sequence) => {
            return sequence.as_ref().iter().try_for_each(|part| add_steps(part, steps));
        }
        PreTokenizerWrapper::Split(split) => match &split.pattern {
            SplitPattern::Regex(pattern) => Some(compile(pattern)?),
            SplitPattern::String(_) => None,
        },
        PreTokenizerWrapper::ByteLevel(bytes) if bytes.use_regex => Some(compile(GPT2)?),
        _ => None,
    };
    steps.push((regex, splitter.clone()));
    Ok(())
}

/// The expressions in a part of a file.
fn collect<'v>(part: &'v Value, patterns: &mut Vec<&'v str>) {
    match part {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| match value {
            Value::String(pattern) if name == "Regex" => patterns.push(pattern),
            _ => collect(value, patterns),
        }),
        Value::Array(parts) => parts.iter().for_each(|part| collect(part, patterns)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn compile(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern).map_err(|error| format!("pattern {pattern}: {error}"))
}
