//! A `gpt2` or `gemma4` vocabulary: splits text by the model's regular expressions, then merges the bytes or characters of each
//! part in the order of a list.

use super::pre::PreTokenizer;
use super::tokens::{Tokens, invalid};
use crate::tokenizer::TokenizerError;
use crate::tokenizer::bpe::TextVocabulary;
use crate::tokenizer::encoder::{Encoder, Form};
use crate::tokenizer::split::Splitter;

/// The encoder of the vocabulary.
///
/// # Errors
/// If a merge is malformed or names what is not in the vocabulary.
pub(super) fn encoder(
    merges: &[String],
    tokens: &Tokens<'_>,
    pre: &PreTokenizer,
) -> Result<Encoder, TokenizerError> {
    let vocabulary = TextVocabulary::new(tokens.ids.clone());
    let merge = |merge: &String| vocabulary.merge(merge_pair(merge)?).map_err(invalid);
    let merges = merges.iter().map(merge).collect::<Result<Vec<_>, _>>()?;
    let bpe = match pre.form {
        Form::ByteLevel => vocabulary.byte_level(&merges, pre.ignores_merges),
        Form::Plain | Form::Underscored => vocabulary.of_characters(&merges, pre.ignores_merges),
    };
    Ok(Encoder { splitter: Splitter::new(pre.patterns).map_err(invalid)?, bpe, form: pre.form })
}

/// The two sides of a merge, written `"a b"`. A leading space belongs to `a`.
fn merge_pair(merge: &str) -> Result<(&str, &str), TokenizerError> {
    let first = merge.chars().next().map_or(0, char::len_utf8);
    let space = merge[first..].find(' ').map(|at| first + at);
    match space.map(|at| (&merge[..at], &merge[at + 1..])) {
        Some((left, right)) if !right.is_empty() => Ok((left, right)),
        _ => Err(invalid(format!("merge {merge:?} is not two tokens separated by a space"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::split::{Engine, pieces};

    #[test]
    fn all_patterns_are_valid() {
        for pattern in PreTokenizer::all().flat_map(|pre| pre.patterns) {
            assert!(Splitter::new(&[pattern]).is_ok(), "{pattern}");
        }
    }

    #[test]
    fn the_expressions_of_most_models_run_as_state_machines() {
        for name in [
            "gpt-2",
            "llama-bpe",
            "qwen2",
            "qwen35",
            "starcoder",
            "tekken",
            "gpt-4o",
            "laguna",
            "minicpm5",
            "gemma4",
        ] {
            let splitter = Splitter::new(PreTokenizer::named(name).unwrap().patterns).unwrap();
            assert_eq!(splitter.engine(), Engine::StateMachines, "{name}");
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
                let splitter = Splitter::new(pre.patterns).unwrap();
                for (text, expected) in golden.texts.iter().zip(&rule.pieces) {
                    assert_eq!(pieces(&splitter, text).unwrap(), *expected, "{name}: {text:?}");
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
