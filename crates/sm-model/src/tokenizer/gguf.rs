//! The tokenizer in the metadata of a GGUF file (`tokenizer.ggml.*`), encoding as llama.cpp does.
//!
//! ```text
//! text ─► cut at special tokens ─► llama: SentencePiece-style BPE by score          (scored)
//!         (fragments)              gpt2:  split by regular expressions, BPE of bytes or characters (pre, listed)
//! ```
//!
//! Keys: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>; behaviour: `llama-vocab.cpp` of llama.cpp.

use sm_tensor::TokenId;

use self::fragments::{Fragment, SpecialTexts};
use self::pre::PreTokenizer;
pub(crate) use self::pre::gguf_pre_tokenizer;
use self::tokens::{TokenType, Tokens};
use super::bpe::{Output, Scratch};
use super::byte_level::ByteLevelDecoder;
use super::encoder::{Encoder, Form, Prefix};
use super::hf::fallback_byte;
use super::special::SpecialIds;
use super::vocabulary::{Lead, TokenKind, Vocabulary, VocabularyBuilder};
use super::{EncodeOptions, GuardedText, InfillTokens, SequenceMarks, Tokenizer, TokenizerError};
use crate::metadata::Metadata;

mod fragments;
mod listed;
mod pre;
mod scored;
#[cfg(test)]
mod tests;
mod tokens;

/// A tokenizer read from GGUF metadata: SentencePiece-style (`llama`) or BPE (`gpt2`, `gemma4`).
#[derive(Debug)]
pub struct GgufTokenizer {
    encoder: Encoder,
    /// What is put before a text at the beginning and behind a special token.
    prefix: Prefix,
    specials: SpecialTexts,
    before: Option<TokenId>, // BOS, if the model expects it
    after: Option<TokenId>,  // EOS, if the model expects it
    vocabulary: Vocabulary,
}

/// The algorithm's defaults for missing metadata.
struct Defaults {
    lead: Lead,
    bos: Option<u32>,
    eos: Option<u32>,
    adds_bos: bool,
}

impl GgufTokenizer {
    /// Builds the tokenizer of a GGUF file from its metadata.
    ///
    /// # Errors
    /// If metadata is missing, malformed or of an unsupported kind.
    pub fn from_metadata(metadata: &Metadata) -> Result<Self, TokenizerError> {
        let tokens = Tokens::read(metadata)?;
        let model: &str = metadata.require("tokenizer.ggml.model")?;
        let (encoder, prefix, defaults) = match model {
            "llama" => {
                let add_space_prefix = metadata.get("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
                let lead = if add_space_prefix { Lead::DropOneSpace } else { Lead::Keep };
                let prefix = if add_space_prefix { Prefix::Underscore } else { Prefix::Nothing };
                let defaults = Defaults { lead, bos: Some(1), eos: Some(2), adds_bos: true };
                (scored::encoder(&tokens)?, prefix, defaults)
            }
            "gpt2" | "gemma4" => {
                let name = match model {
                    "gemma4" => model,
                    _ => metadata.get("tokenizer.ggml.pre")?.unwrap_or("default"),
                };
                let pre = PreTokenizer::named(name)?;
                let encoder = listed::encoder(metadata.require("tokenizer.ggml.merges")?, &tokens, pre)?;
                let defaults = Defaults { lead: Lead::Keep, bos: None, eos: None, adds_bos: pre.adds_bos };
                (encoder, Prefix::Nothing, defaults)
            }
            other => {
                return Err(TokenizerError::Unsupported {
                    part: "tokenizer.ggml.model",
                    found: other.to_owned(),
                    supported: "llama, gpt2, gemma4".to_owned(),
                });
            }
        };
        let special = special_ids(metadata, &tokens, &defaults)?;
        let wanted = |key: &str, default: bool, id: Option<TokenId>| -> Result<_, TokenizerError> {
            Ok(if metadata.get(key)?.unwrap_or(default) { id } else { None })
        };
        let before = wanted("tokenizer.ggml.add_bos_token", defaults.adds_bos, special.bos)?;
        let after = wanted("tokenizer.ggml.add_eos_token", false, special.eos)?;
        let phi3 = metadata.get::<&str>("general.name")?.is_some_and(is_phi3);
        let specials = SpecialTexts::new(&tokens, phi3.then_some(fragments::PHI3_KEEPS_SPACES))?;
        let vocabulary = vocabulary(&tokens, encoder.form, defaults.lead, special)?;
        Ok(Self { encoder, prefix, specials, before, after, vocabulary })
    }
}

impl GgufTokenizer {
    /// Appends the ids of a text that is cut at its special tokens.
    fn append(&self, fragments: &[Fragment<'_>], output: &mut Output) -> Result<(), TokenizerError> {
        let mut scratch = Scratch::default();
        let mut after_special = true;
        for fragment in fragments {
            match fragment {
                Fragment::Special(id) => {
                    output.ids.push(*id);
                    output.check()?;
                }
                Fragment::Text(part) => {
                    let prefix = if after_special { self.prefix } else { Prefix::Nothing };
                    self.encoder.encode(part, prefix, &mut scratch, output)?;
                }
            }
            after_special = matches!(fragment, Fragment::Special(_));
        }
        Ok(())
    }
}

impl Tokenizer for GgufTokenizer {
    fn encode(&self, text: &str, options: EncodeOptions) -> Result<Vec<TokenId>, TokenizerError> {
        self.encode_within(text, options, usize::MAX)
    }

    fn encode_within(
        &self,
        text: &str,
        options: EncodeOptions,
        limit: usize,
    ) -> Result<Vec<TokenId>, TokenizerError> {
        let adds = options.marks == SequenceMarks::Add;
        let fragments = self.specials.split(text, options.special_text);
        let mut output = Output::new(text.len(), limit);
        self.append(&fragments, &mut output)?;
        if let Some(bos) = self.before.filter(|bos| adds && output.ids.first() != Some(bos)) {
            output.ids.insert(0, bos);
        }
        output.ids.extend(self.after.filter(|_| adds));
        output.check()?;
        Ok(output.ids)
    }

    fn encode_guarded_within(
        &self,
        text: &GuardedText,
        limit: usize,
    ) -> Result<Vec<TokenId>, TokenizerError> {
        let mut output = Output::new(text.text.len(), limit);
        self.append(&self.specials.split_guarded(text), &mut output)?;
        Ok(output.ids)
    }

    fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }
}

/// Whether special tokens swallow the spaces after them. As in llama.cpp, decided by the model's name, since metadata lack
/// it.
fn is_phi3(name: &str) -> bool {
    let name = name.to_lowercase();
    name.contains("phi-3") || name.contains("phi3")
}

fn special_ids(
    metadata: &Metadata,
    tokens: &Tokens<'_>,
    defaults: &Defaults,
) -> Result<SpecialIds, TokenizerError> {
    let id = |key: &str, default: Option<u32>| -> Result<_, TokenizerError> {
        let given: Option<i64> = metadata.get(&format!("tokenizer.ggml.{key}_token_id"))?;
        let vocab_size = tokens.texts.len();
        match given {
            None => Ok(default.filter(|&id| (id as usize) < vocab_size).map(TokenId)),
            // Some writers use -1 or 2^32 - 1 for a token the model does not have.
            Some(-1 | 0xFFFF_FFFF) => Ok(None),
            Some(id) => match u32::try_from(id) {
                Ok(id) if (id as usize) < vocab_size => Ok(Some(TokenId(id))),
                // Nothing is computed with these.
                _ if matches!(key, "unknown" | "padding") || key.starts_with("fim_") => {
                    tracing::warn!(
                        "the {key} token has id {id}, but the vocabulary has only {vocab_size} tokens; the model has none then"
                    );
                    Ok(None)
                }
                _ => Err(TokenizerError::IdOutOfRange {
                    token: key.to_owned(),
                    id: id.unsigned_abs(),
                    vocab_size,
                }),
            },
        }
    };
    let mut special = SpecialIds {
        bos: id("bos", defaults.bos)?,
        eos: id("eos", defaults.eos)?,
        unknown: id("unknown", None)?,
        padding: id("padding", None)?,
        ..SpecialIds::default()
    };
    let of_file = InfillTokens {
        prefix: id("fim_pre", None)?,
        suffix: id("fim_suf", None)?,
        middle: id("fim_mid", None)?,
        padding: id("fim_pad", None)?,
        repository: id("fim_rep", None)?,
        file: id("fim_sep", None)?,
    };
    let texts = (0..).map(TokenId).zip(tokens.texts.iter().map(String::as_str));
    special.infill = of_file.or(InfillTokens::among(texts));
    let named = id("eot", None)?.into_iter().chain(id("eom", None)?);
    let marked =
        |&(id, _): &(u32, &str)| matches!(tokens.kind(id), TokenType::Control | TokenType::UserDefined);
    let controls = (0..).zip(tokens.texts.iter().map(String::as_str)).filter(marked);
    special.set_end_of_generation(named, controls.map(|(id, text)| (TokenId(id), text)));
    Ok(special)
}

fn vocabulary(
    tokens: &Tokens<'_>,
    form: Form,
    lead: Lead,
    special: SpecialIds,
) -> Result<Vocabulary, TokenizerError> {
    let byte_level = ByteLevelDecoder::new();
    let mut builder = VocabularyBuilder::new(lead);
    for (id, text) in (0..).zip(tokens.texts) {
        let mut bytes = Vec::new();
        let kind = match tokens.kind(id) {
            TokenType::Control | TokenType::Unknown => TokenKind::Control,
            TokenType::UserDefined => TokenKind::Added,
            TokenType::Unused => TokenKind::Unused,
            TokenType::Byte | TokenType::Normal => TokenKind::Normal,
        };
        match (tokens.kind(id), form) {
            (TokenType::Control | TokenType::Unknown | TokenType::UserDefined, _) => {
                bytes.extend_from_slice(text.as_bytes());
            }
            (TokenType::Unused, _) => {}
            (TokenType::Byte, _) => bytes.extend(fallback_byte(text)),
            (TokenType::Normal, Form::ByteLevel) => byte_level.append(text, &mut bytes),
            (TokenType::Normal, Form::Plain) => bytes.extend_from_slice(text.as_bytes()),
            (TokenType::Normal, Form::Underscored) => {
                bytes.extend_from_slice(text.replace('▁', " ").as_bytes());
            }
        }
        builder.push(id, bytes, kind);
    }
    builder.build("the GGUF metadata", special)
}
