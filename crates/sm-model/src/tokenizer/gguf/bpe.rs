//! BPE: splits text by the model's regular expressions, then merges the bytes or characters of each part by rank.
//!
//! The crate `tokenizers` does the merging. Byte-level BPE: GPT-2,
//! <https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf>; merge
//! order: Sennrich et al., <https://arxiv.org/abs/1508.07909>.

use std::fmt;

use sm_tensor::TokenId;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{Model, OffsetType, PreTokenizedString, PreTokenizer as _, SplitDelimiterBehavior};

use super::pre::{Form, PreTokenizer};
use super::tokens::{Tokens, invalid};
use crate::tokenizer::TokenizerError;
use crate::tokenizer::hf::guarded;

/// A `gpt2` or `gemma4` vocabulary.
pub(super) struct Bpe {
    splits: Vec<Split>,
    form: Form,
    model: BPE,
}

impl fmt::Debug for Bpe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bpe").field("splits", &self.splits.len()).field("model", &self.model).finish()
    }
}

impl Bpe {
    pub(super) fn new(
        merges: &[String],
        tokens: &Tokens<'_>,
        pre: &PreTokenizer,
    ) -> Result<Self, TokenizerError> {
        let merges = merges.iter().map(|merge| merge_pair(merge)).collect::<Result<Vec<_>, _>>()?;
        let vocab = tokens.ids.iter().map(|(&text, &id)| (text.to_owned(), id)).collect();
        let builder = BPE::builder().vocab_and_merges::<tokenizers::models::bpe::Vocab>(vocab, merges);
        let builder = builder.ignore_merges(pre.ignores_merges);
        let falls_back = pre.form != Form::ByteLevel;
        let model = guarded(|| builder.byte_fallback(falls_back).build()).map_err(invalid)?;
        let splits = pre.patterns.iter().copied().map(split).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { splits, form: pre.form, model })
    }

    pub(super) fn encode(&self, text: &str, ids: &mut Vec<TokenId>) -> Result<(), TokenizerError> {
        let encoding = guarded(|| {
            let mut parts = self.parts(text)?;
            if self.form == Form::ByteLevel {
                ByteLevel::new(false, false, false).pre_tokenize(&mut parts)?;
            }
            parts.tokenize(|part| self.model.tokenize(part.get()))?;
            parts.into_encoding(None, 0, OffsetType::None)
        });
        let encoding = encoding.map_err(|reason| TokenizerError::Encode { n_bytes: text.len(), reason })?;
        ids.extend(encoding.get_ids().iter().copied().map(TokenId));
        Ok(())
    }

    /// How tokens write text.
    pub(super) fn form(&self) -> Form {
        self.form
    }

    /// The text, split.
    fn parts(&self, text: &str) -> tokenizers::Result<PreTokenizedString> {
        let mut parts = match self.form {
            Form::ByteLevel | Form::Plain => PreTokenizedString::from(text),
            Form::Underscored => PreTokenizedString::from(text.replace(' ', "▁")),
        };
        for split in &self.splits {
            split.pre_tokenize(&mut parts)?;
        }
        Ok(parts)
    }
}

fn split(pattern: &str) -> Result<Split, TokenizerError> {
    let regex = SplitPattern::Regex(pattern.to_owned());
    guarded(|| Split::new(regex, SplitDelimiterBehavior::Isolated, false))
        .map_err(|reason| invalid(format!("pattern {pattern}: {reason}")))
}

/// The two sides of a merge, written `"a b"`. A leading space belongs to `a`.
fn merge_pair(merge: &str) -> Result<(String, String), TokenizerError> {
    let first = merge.chars().next().map_or(0, char::len_utf8);
    let space = merge[first..].find(' ').map(|at| first + at);
    match space.map(|at| (&merge[..at], &merge[at + 1..])) {
        Some((left, right)) if !right.is_empty() => Ok((left.to_owned(), right.to_owned())),
        _ => Err(invalid(format!("merge {merge:?} is not two tokens separated by a space"))),
    }
}

#[cfg(test)]
mod tests {
    use tokenizers::OffsetReferential;

    use super::*;

    #[test]
    fn all_patterns_are_valid() {
        for pattern in PreTokenizer::all().flat_map(|pre| pre.patterns) {
            assert!(split(pattern).is_ok(), "{pattern}: {:?}", split(pattern).err());
        }
    }

    #[derive(serde::Deserialize)]
    struct Golden {
        texts: Vec<String>,
        rules: Vec<Rule>,
    }

    #[derive(serde::Deserialize)]
    struct Rule {
        names: Vec<String>,
        /// Of each text.
        pieces: Vec<Vec<String>>,
    }

    #[test]
    fn texts_are_split_as_by_the_published_expressions() {
        let golden = include_str!("../../../tests/data/pre_tokenizers.json");
        let golden: Golden = serde_json::from_str(golden).unwrap();
        let mut checked = Vec::new();
        for rule in &golden.rules {
            for name in &rule.names {
                let pre = PreTokenizer::named(name).unwrap();
                let splits = pre.patterns.iter().copied().map(split).collect::<Result<Vec<_>, _>>().unwrap();
                for (text, expected) in golden.texts.iter().zip(&rule.pieces) {
                    let mut parts = PreTokenizedString::from(text.as_str());
                    splits.iter().for_each(|split| split.pre_tokenize(&mut parts).unwrap());
                    let parts = parts.get_splits(OffsetReferential::Original, OffsetType::Byte);
                    let found: Vec<&str> = parts.into_iter().map(|(piece, _, _)| piece).collect();
                    assert_eq!(found, *expected, "{name}: {text:?}");
                }
                checked.push(name.as_str());
            }
        }
        // Golden encodings of a whole vocabulary test the one that is missing.
        let names = PreTokenizer::all().flat_map(|pre| pre.names).filter(|name| **name != "deepseek-llm");
        for name in names {
            assert!(checked.contains(name), "{name} has no expected pieces");
        }
    }
}
