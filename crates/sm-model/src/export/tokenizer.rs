//! The vocabulary of a Hugging Face directory as GGUF metadata.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value as Json;

use crate::LoadError;
use crate::export::pre_tokenizer;
use crate::metadata::{Array, Metadata, Value};

/// What a token is, by the numbers of GGUF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
enum Kind {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

/// One entry of the vocabulary.
#[derive(Clone, Debug)]
struct Token {
    text: String,
    kind: Kind,
    /// How early the token is merged, for vocabularies of the SentencePiece kind: higher is earlier.
    score: f32,
}

/// The metadata under `tokenizer.` of the model in `dir`, whose embedding has `vocab_size` rows. A model without any
/// tokenizer has none in the file either.
///
/// # Errors
/// If a file is missing or malformed, or the tokenizer is of a kind that GGUF has no name for.
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
    Roles { tokenizer: &tokenizer, config: &config, model_config: &model_config, tokens: &tokens }
        .write(&mut metadata);
    if let Some(template) = chat_template(dir, &config)? {
        metadata.insert("tokenizer.chat_template", Value::String(template));
    }
    let texts = tokens.iter().map(|token| token.text.clone()).collect();
    metadata.insert("tokenizer.ggml.tokens", Value::Array(Array::String(texts)));
    let kinds = tokens.iter().map(|token| token.kind as i32).collect();
    metadata.insert("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)));
    Ok(metadata)
}

/// The JSON of a file, or `None` if there is no such file.
fn read_json(path: &Path) -> Result<Option<Json>, LoadError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(LoadError::Io { path: path.to_owned(), source }),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|source| LoadError::Json { source }.in_file(path))
}

/// The tokens in the order of their ids, gaps filled; sets what tells how to split and merge.
fn vocabulary(tokenizer: &Json, vocab_size: usize, metadata: &mut Metadata) -> Result<Vec<Token>, LoadError> {
    let model = &tokenizer["model"];
    let kind = model["type"].as_str().unwrap_or("BPE");
    if kind != "BPE" {
        return Err(unsupported("model.type", kind, "only BPE vocabularies can be written to GGUF"));
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
        let name = pre_tokenizer::name(&tokenizer["pre_tokenizer"])?;
        let joined = merges.iter().map(|[left, right]| format!("{left} {right}")).collect();
        metadata.insert("tokenizer.ggml.model", Value::String("gpt2".into()));
        metadata.insert("tokenizer.ggml.pre", Value::String(name.into()));
        metadata.insert("tokenizer.ggml.merges", Value::Array(Array::String(joined)));
    }
    for added in tokenizer["added_tokens"].as_array().map_or(&[][..], Vec::as_slice) {
        let (Some(text), Some(slot)) = (added["content"].as_str(), slot(&mut tokens, &added["id"])) else {
            continue;
        };
        text.clone_into(&mut slot.text);
        slot.kind = match (slot.kind, added["special"].as_bool()) {
            (Kind::Unknown, _) => Kind::Unknown,
            (_, Some(true)) => Kind::Control,
            _ => Kind::UserDefined,
        };
    }
    Ok(tokens)
}

/// The entry of the token with this id, if it lies within the vocabulary.
fn slot<'a>(tokens: &'a mut [Token], id: &Json) -> Option<&'a mut Token> {
    tokens.get_mut(usize::try_from(id.as_u64()?).ok()?)
}

/// The tokens of the model's own vocabulary.
fn plain_tokens(model: &Json, vocab_size: usize) -> Result<Vec<Token>, LoadError> {
    let unused = |id| Token { text: format!("[PAD{id}]"), kind: Kind::Unused, score: 0.0 };
    let mut tokens: Vec<Token> = (0..vocab_size).map(unused).collect();
    let vocab =
        model["vocab"].as_object().ok_or_else(|| LoadError::MissingKey { key: "model.vocab".into() })?;
    for (text, id) in vocab {
        let slot = slot(&mut tokens, id).ok_or_else(|| {
            let reason =
                format!("the id of token {text:?} lies outside of the {vocab_size} rows of the embedding");
            unsupported("model.vocab", &id.to_string(), &reason)
        })?;
        *slot = Token { text: text.clone(), kind: Kind::Normal, score: 0.0 };
    }
    Ok(tokens)
}

/// The pairs that are merged, the first first.
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

/// Gives tokens the scores and kinds of a SentencePiece vocabulary: there, the two neighbours are merged first whose
/// joint token has the highest score, which is the order of the merges.
fn score(tokens: &mut [Token], model: &Json, merges: &[[&str; 2]]) {
    let mut rank_of: HashMap<String, usize> = HashMap::with_capacity(merges.len());
    for (rank, pair) in merges.iter().enumerate() {
        rank_of.entry(pair.concat()).or_insert(rank);
    }
    let unknown = model["unk_token"].as_str();
    for token in tokens.iter_mut().filter(|token| token.kind == Kind::Normal) {
        token.score = rank_of.get(&token.text).map_or(0.0, |rank| -(*rank as f32) - 1.0);
        if unknown == Some(&token.text) {
            token.kind = Kind::Unknown;
        } else if is_byte(&token.text) {
            token.kind = Kind::Byte;
        }
    }
}

/// Whether a token is one byte, as in `<0x0A>`.
fn is_byte(text: &str) -> bool {
    let digits = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
}

/// Whether a space is put before a text, by a normalizer or by the pre-tokenizer.
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

/// An end of a text.
#[derive(Clone, Copy, Debug)]
enum End {
    First,
    Last,
}

/// Where the roles of tokens are written.
struct Roles<'a> {
    tokenizer: &'a Json,
    config: &'a Json,
    model_config: &'a Json,
    tokens: &'a [Token],
}

impl Roles<'_> {
    /// Sets the ids of tokens with a role, and whether they are added to a text.
    fn write(&self, metadata: &mut Metadata) {
        let bos = self.id("bos_token", "bos_token_id");
        let eos = self.id("eos_token", "eos_token_id");
        let ids = [
            ("bos", bos),
            ("eos", eos),
            ("unknown", self.id("unk_token", "unk_token_id")),
            ("padding", self.id("pad_token", "pad_token_id")),
        ];
        for (name, id) in ids {
            if let Some(id) = id {
                metadata.insert(format!("tokenizer.ggml.{name}_token_id"), Value::U32(id));
            }
        }
        for (key, id, end) in [("add_bos_token", bos, End::First), ("add_eos_token", eos, End::Last)] {
            let added = self.is_in_template(id, end).or_else(|| self.config[key].as_bool()).unwrap_or(false);
            metadata.insert(format!("tokenizer.ggml.{key}"), Value::Bool(added));
        }
    }

    /// The id of a role: by the token's text in the tokenizer's configuration, else from the model's.
    fn id(&self, text_key: &str, id_key: &str) -> Option<u32> {
        let entry = &self.config[text_key];
        let text = entry.as_str().or_else(|| entry["content"].as_str());
        let by_text = text.and_then(|text| self.tokens.iter().position(|token| token.text == text));
        let entry = &self.model_config[id_key];
        let by_id = entry.as_u64().or_else(|| entry[0].as_u64());
        by_text.or_else(|| usize::try_from(by_id?).ok()).and_then(|id| u32::try_from(id).ok())
    }

    /// Whether the post-processor puts a token at an end of a text, if it is a template.
    fn is_in_template(&self, id: Option<u32>, end: End) -> Option<bool> {
        let processor = &self.tokenizer["post_processor"];
        let parts = processor["processors"].as_array().map_or(std::slice::from_ref(processor), Vec::as_slice);
        let template = parts.iter().find_map(|part| part["single"].as_array())?;
        let piece = match end {
            End::First => template.first(),
            End::Last => template.last(),
        };
        let token = self.tokens.get(id? as usize)?;
        Some(piece?["SpecialToken"]["id"] == token.text.as_str())
    }
}

/// The chat template: a file of its own, or a field of the tokenizer's configuration.
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
