//! Writes the tokenizer of a Hugging Face directory as GGUF metadata.
//!
//! A `tokenizer.json` with byte fallback is a SentencePiece vocabulary: merges become scores (`llama`). Otherwise it is
//! byte-level BPE (`gpt2`), and GGUF must have a name for its pre-tokenizer.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value as Json;

use crate::export::pre_tokenizer;
use crate::metadata::{Array, Metadata, Value};
use crate::{LoadError, json};

/// `tokenizer.ggml.token_type`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
enum TokenType {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

/// A token of the vocabulary.
#[derive(Clone, Debug)]
struct Token {
    text: String,
    token_type: TokenType,
    /// Merge priority in SentencePiece vocabularies: higher is earlier.
    score: f32,
}

/// The `tokenizer.` metadata for the model in `dir`, whose embedding has `vocab_size` rows. Records if the model has no
/// tokenizer.
///
/// # Errors
/// If a file is missing or malformed, or GGUF does not support the kind of tokenizer.
pub(super) fn metadata(dir: &Path, vocab_size: usize) -> Result<Metadata, LoadError> {
    let path = dir.join("tokenizer.json");
    let mut metadata = Metadata::default();
    let Some(tokenizer) = read_json(&path)? else {
        if ["tokenizer.model", "vocab.json", "vocab.txt"].iter().any(|name| dir.join(name).exists()) {
            let source = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(LoadError::Io { path, source });
        }
        metadata.insert("tokenizer.ggml.model", Value::String("none".into()));
        return Ok(metadata);
    };
    let config = read_json(&dir.join("tokenizer_config.json"))?.unwrap_or_default();
    let model_config = read_json(&dir.join("config.json"))?.unwrap_or_default();
    let tokens = vocabulary(&tokenizer, vocab_size, &mut metadata).map_err(|error| error.in_file(&path))?;
    SpecialTokens { tokenizer: &tokenizer, config: &config, model_config: &model_config, tokens: &tokens }
        .write(&mut metadata)
        .map_err(|error| error.in_file(&path))?;
    if let Some(template) = chat_template(dir, &config)? {
        metadata.insert("tokenizer.chat_template", Value::String(template));
    }
    let texts = tokens.iter().map(|token| token.text.clone()).collect();
    metadata.insert("tokenizer.ggml.tokens", Value::Array(Array::String(texts)));
    let types = tokens.iter().map(|token| token.token_type as i32).collect();
    metadata.insert("tokenizer.ggml.token_type", Value::Array(Array::I32(types)));
    Ok(metadata)
}

/// The JSON of a file; `None` if the file does not exist.
fn read_json(path: &Path) -> Result<Option<Json>, LoadError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(LoadError::Io { path: path.to_owned(), source }),
    };
    json::parse(&bytes).map(Some).map_err(|source| LoadError::Json { source }.in_file(path))
}

/// The tokens by id, with gaps filled. Writes the metadata for splitting and merging.
fn vocabulary(tokenizer: &Json, vocab_size: usize, metadata: &mut Metadata) -> Result<Vec<Token>, LoadError> {
    let model = &tokenizer["model"];
    let kind = model["type"].as_str().unwrap_or("BPE");
    if kind != "BPE" {
        return Err(unsupported("model.type", kind, "only BPE vocabularies can be exported to GGUF"));
    }
    let mut tokens = plain_tokens(model, vocab_size)?;
    let merges = merges(model)?;
    if model["byte_fallback"].as_bool() == Some(true) {
        score(&mut tokens, model, &merges);
        let scores = tokens.iter().map(|token| token.score).collect();
        metadata.insert("tokenizer.ggml.model", Value::String("llama".into()));
        metadata.insert("tokenizer.ggml.scores", Value::Array(Array::F32(scores)));
        metadata.insert("tokenizer.ggml.add_space_prefix", Value::Bool(adds_space(tokenizer)));
    } else {
        let ignores_merges = model["ignore_merges"].as_bool().unwrap_or(false);
        let name = pre_tokenizer::name(&tokenizer["pre_tokenizer"], ignores_merges)?;
        let joined = merges.iter().map(|[left, right]| format!("{left} {right}")).collect();
        metadata.insert("tokenizer.ggml.model", Value::String("gpt2".into()));
        metadata.insert("tokenizer.ggml.pre", Value::String(name.into()));
        metadata.insert("tokenizer.ggml.merges", Value::Array(Array::String(joined)));
    }
    for added in tokenizer["added_tokens"].as_array().map_or(&[][..], Vec::as_slice) {
        let token = token_mut(&mut tokens, &added["id"]);
        let (Some(text), Some(token)) = (added["content"].as_str(), token) else { continue };
        text.clone_into(&mut token.text);
        token.token_type = match (token.token_type, added["special"].as_bool()) {
            (TokenType::Unknown, _) => TokenType::Unknown,
            (_, Some(true)) => TokenType::Control,
            _ => TokenType::UserDefined,
        };
    }
    Ok(tokens)
}

/// The token with this id, if it is within the vocabulary.
fn token_mut<'a>(tokens: &'a mut [Token], id: &Json) -> Option<&'a mut Token> {
    tokens.get_mut(usize::try_from(id.as_u64()?).ok()?)
}

/// The tokens of the model's vocabulary, without added ones.
fn plain_tokens(model: &Json, vocab_size: usize) -> Result<Vec<Token>, LoadError> {
    let unused = |id| Token { text: format!("[PAD{id}]"), token_type: TokenType::Unused, score: 0.0 };
    let mut tokens: Vec<Token> = (0..vocab_size).map(unused).collect();
    let vocab =
        model["vocab"].as_object().ok_or_else(|| LoadError::MissingKey { key: "model.vocab".into() })?;
    for (text, id) in vocab {
        let token = token_mut(&mut tokens, id).ok_or_else(|| {
            let reason = format!("the id of token {text:?} is beyond the {vocab_size} rows of the embedding");
            unsupported("model.vocab", &id.to_string(), &reason)
        })?;
        *token = Token { text: text.clone(), token_type: TokenType::Normal, score: 0.0 };
    }
    Ok(tokens)
}

/// The merges, by rank.
fn merges(model: &Json) -> Result<Vec<[&str; 2]>, LoadError> {
    let wrong = |found: &Json| LoadError::KeyType {
        key: "model.merges".into(),
        found: found.to_string().chars().take(60).collect(),
        expected: "an array of pairs",
    };
    let merges =
        model["merges"].as_array().ok_or_else(|| LoadError::MissingKey { key: "model.merges".into() })?;
    merges.iter().map(|merge| pair(merge).ok_or_else(|| wrong(merge))).collect()
}

/// A merge, written as `"a b"` or as `["a", "b"]`.
fn pair(merge: &Json) -> Option<[&str; 2]> {
    match merge {
        Json::String(pair) => pair.split_once(' ').map(|(left, right)| [left, right]),
        Json::Array(pair) => Some([pair.first()?.as_str()?, pair.get(1)?.as_str()?]),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => None,
    }
}

/// Converts merges to the scores and token types of a SentencePiece vocabulary, which first merges the neighbours whose
/// token has the highest score.
fn score(tokens: &mut [Token], model: &Json, merges: &[[&str; 2]]) {
    let mut rank_of: HashMap<String, usize> = HashMap::with_capacity(merges.len());
    for (rank, pair) in merges.iter().enumerate() {
        rank_of.entry(pair.concat()).or_insert(rank);
    }
    let unknown = model["unk_token"].as_str();
    for token in tokens.iter_mut().filter(|token| token.token_type == TokenType::Normal) {
        token.score = rank_of.get(&token.text).map_or(0.0, |rank| -(*rank as f32) - 1.0);
        if unknown == Some(&token.text) {
            token.token_type = TokenType::Unknown;
        } else if is_byte(&token.text) {
            token.token_type = TokenType::Byte;
        }
    }
}

/// Whether a token is a byte token, such as `<0x0A>`.
fn is_byte(text: &str) -> bool {
    let digits = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
}

/// Whether a normalizer or the pre-tokenizer puts a space before a text.
fn adds_space(tokenizer: &Json) -> bool {
    let prepends = |part: &Json| match part["type"].as_str() {
        Some("Prepend") => true,
        Some("Metaspace") => match part["prepend_scheme"].as_str() {
            Some(scheme) => scheme != "never",
            None => part["add_prefix_space"].as_bool() != Some(false),
        },
        _ => false,
    };
    let lists = [("normalizer", "normalizers"), ("pre_tokenizer", "pretokenizers")];
    lists.iter().any(|(part, list)| {
        let part = &tokenizer[part];
        prepends(part) || part[list].as_array().is_some_and(|parts| parts.iter().any(prepends))
    })
}

/// The files that declare special tokens.
struct SpecialTokens<'a> {
    tokenizer: &'a Json,
    config: &'a Json,
    model_config: &'a Json,
    tokens: &'a [Token],
}

impl SpecialTokens<'_> {
    /// Writes the ids of special tokens, and which of them are added to texts.
    ///
    /// # Errors
    /// If other tokens are added than GGUF can say.
    fn write(&self, metadata: &mut Metadata) -> Result<(), LoadError> {
        let Marks { before, after } = Marks::of(&self.tokenizer["post_processor"])?;
        for (name, mark, text_key, id_key) in
            [("bos", before, "bos_token", "bos_token_id"), ("eos", after, "eos_token", "eos_token_id")]
        {
            let declared = self.id(text_key, id_key);
            let id = self.marked(text_key, declared, mark)?;
            if let Some(id) = id {
                metadata.insert(format!("tokenizer.ggml.{name}_token_id"), Value::U32(id));
            }
            metadata.insert(format!("tokenizer.ggml.add_{name}_token"), Value::Bool(mark.is_some()));
        }
        for (name, text_key, id_key) in
            [("unknown", "unk_token", "unk_token_id"), ("padding", "pad_token", "pad_token_id")]
        {
            if let Some(id) = self.id(text_key, id_key) {
                metadata.insert(format!("tokenizer.ggml.{name}_token_id"), Value::U32(id));
            }
        }
        Ok(())
    }

    /// The id of a special token that is `declared` and, if there is a mark, put at a side of each text. In GGUF it is one
    /// token that is both.
    fn marked(
        &self,
        name: &str,
        declared: Option<u32>,
        mark: Option<&str>,
    ) -> Result<Option<u32>, LoadError> {
        let Some(mark) = mark else {
            return Ok(declared);
        };
        let text_of = |id: u32| self.tokens.get(id as usize).map(|token| token.text.as_str());
        if let Some(text) = declared.and_then(text_of).filter(|text| *text != mark) {
            let reason =
                format!("{name} is {text:?}, but {mark:?} is added to texts; GGUF has one token for both");
            return Err(unsupported("post_processor", mark, &reason));
        }
        let by_text = || self.tokens.iter().position(|token| token.text == mark);
        let id = declared.or_else(|| u32::try_from(by_text()?).ok());
        let unknown = || unsupported("post_processor", mark, "it is not in the vocabulary");
        id.map(Some).ok_or_else(unknown)
    }

    /// The id of a special token, by its text in the tokenizer's configuration or from the model's configuration.
    fn id(&self, text_key: &str, id_key: &str) -> Option<u32> {
        let entry = &self.config[text_key];
        let text = entry.as_str().or_else(|| entry["content"].as_str());
        let by_text = text.and_then(|text| self.tokens.iter().position(|token| token.text == text));
        let entry = &self.model_config[id_key];
        let by_id = entry.as_u64().or_else(|| entry[0].as_u64());
        by_text.or_else(|| usize::try_from(by_id?).ok()).and_then(|id| u32::try_from(id).ok())
    }
}

/// The tokens that a post-processor puts around a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Marks<'a> {
    before: Option<&'a str>,
    after: Option<&'a str>,
}

impl<'a> Marks<'a> {
    /// The marks of a post-processor, or of the one of a sequence that has any.
    ///
    /// # Errors
    /// If it adds more than one token at a side.
    fn of(processor: &'a Json) -> Result<Self, LoadError> {
        let parts = processor["processors"].as_array().map_or(std::slice::from_ref(processor), Vec::as_slice);
        let mut marks = Self::default();
        for part in parts {
            let own = match part["type"].as_str() {
                Some("TemplateProcessing") => Self::of_template(&part["single"])?,
                Some("BertProcessing" | "RobertaProcessing") => {
                    Self { before: part["cls"][0].as_str(), after: part["sep"][0].as_str() }
                }
                _ => continue,
            };
            let is_both = |a: Option<&str>, b: Option<&str>| a.is_some() && b.is_some();
            if is_both(marks.before, own.before) || is_both(marks.after, own.after) {
                return Err(too_many(processor));
            }
            marks = Self { before: marks.before.or(own.before), after: marks.after.or(own.after) };
        }
        Ok(marks)
    }

    /// The marks of a template such as `<s> $A </s>`.
    fn of_template(single: &'a Json) -> Result<Self, LoadError> {
        let pieces = single.as_array().map_or(&[][..], Vec::as_slice);
        let text = pieces.iter().position(|piece| piece["Sequence"].is_object());
        let (before, after) = pieces.split_at(text.unwrap_or(pieces.len()));
        let mark = |side: &'a [Json]| match side {
            [] => Ok(None),
            [piece] => Ok(piece["SpecialToken"]["id"].as_str()),
            _ => Err(too_many(single)),
        };
        Ok(Self { before: mark(before)?, after: mark(after.get(1..).unwrap_or_default())? })
    }
}

fn too_many(processor: &Json) -> LoadError {
    let shown: String = processor.to_string().chars().take(200).collect();
    let reason = "GGUF can say one token before a text and one after it, and no more";
    unsupported("post_processor", &shown, reason)
}

/// The chat template: a file, or a field of the tokenizer's configuration.
fn chat_template(dir: &Path, config: &Json) -> Result<Option<String>, LoadError> {
    let path = dir.join("chat_template.jinja");
    match std::fs::read_to_string(&path) {
        Ok(template) => return Ok(Some(template)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => return Err(LoadError::Io { path, source }),
    }
    let entry = &config["chat_template"];
    let named = entry.as_array().and_then(|all| all.iter().find(|template| template["name"] == "default"));
    let template = entry.as_str().or_else(|| named?["template"].as_str());
    Ok(template.map(str::to_owned))
}

fn unsupported(key: &str, value: &str, reason: &str) -> LoadError {
    LoadError::Unsupported { key: key.into(), value: value.into(), reason: reason.into() }
}

#[cfg(test)]
mod tests;
