//! Bodies and answers of `/v1/embeddings`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};
use sm_runtime::{Embedding, ModelFacts, Pooling, Prompt};

use super::body::WITHOUT_EFFECT;
use crate::wire::{FieldError, fields, options};

/// What a body asks for.
#[derive(Clone, Debug)]
pub struct EmbeddingsCall {
    /// The model, if it names one.
    pub model: Option<String>,
    /// The texts.
    pub inputs: Vec<Prompt>,
    /// How hidden states become a vector.
    pub pooling: Pooling,
    /// Values of each vector, all of them if not set.
    dimensions: Option<usize>,
    is_base64: bool,
    /// Whether vectors have length 1.
    is_normalized: bool,
}

impl EmbeddingsCall {
    /// Reads a body with at least one text.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn read(body: &Map<String, Value>) -> Result<Self, FieldError> {
        let call = Self::read_any(body)?;
        if call.inputs.is_empty() {
            return Err(FieldError::new("input", "missing"));
        }
        Ok(call)
    }

    /// Reads a body that may have no texts.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn read_any(body: &Map<String, Value>) -> Result<Self, FieldError> {
        let mut call = Self {
            model: None,
            inputs: Vec::new(),
            pooling: Pooling::default(),
            dimensions: None,
            is_base64: false,
            is_normalized: true,
        };
        for (name, value) in body.iter().filter(|(_, value)| !value.is_null()) {
            call.set(name, value).map_err(|message| FieldError::new(name, message))?;
        }
        Ok(call)
    }

    fn set(&mut self, name: &str, value: &Value) -> Result<(), String> {
        match name {
            "model" => options::text(value).map(|it| self.model = Some(it)),
            "input" => inputs(value).map(|it| self.inputs = it),
            "dimensions" => match options::count(value)? {
                0 => Err("must be 1 or more".to_owned()),
                n => {
                    self.dimensions = Some(n);
                    Ok(())
                }
            },
            "encoding_format" => match value.as_str() {
                Some(format @ ("float" | "base64")) => {
                    self.is_base64 = format == "base64";
                    Ok(())
                }
                _ => Err("must be \"float\" or \"base64\"".to_owned()),
            },
            "pooling" => match value.as_str() {
                Some("mean") => {
                    self.pooling = Pooling::Mean;
                    Ok(())
                }
                Some("last") => {
                    self.pooling = Pooling::Last;
                    Ok(())
                }
                _ => Err("must be \"mean\" or \"last\"".to_owned()),
            },
            "normalize" => options::flag(value).map(|it| self.is_normalized = it),
            _ if WITHOUT_EFFECT.contains(&name) => Ok(()),
            _ => Err("unknown field; correct its name, or leave it out".to_owned()),
        }
    }

    /// Checks the body against a model, if that tells the size of its hidden states.
    ///
    /// # Errors
    /// If more dimensions are asked for than the model has.
    pub fn check(&self, facts: Option<&ModelFacts>) -> Result<(), FieldError> {
        let has = facts.map_or(usize::MAX, |facts| facts.hidden_size);
        self.dimensions.filter(|wanted| *wanted > has).map_or(Ok(()), |wanted| {
            let message = format!("{wanted} is more than the model's {has}; lower it, or leave it out");
            Err(FieldError::new("dimensions", message))
        })
    }

    /// The answer.
    pub fn answer(&self, model: &str, embeddings: &[Embedding]) -> Value {
        let data = embeddings.iter().enumerate().map(|(index, embedding)| {
            json!({"object": "embedding", "index": index, "embedding": self.vector(embedding)})
        });
        let data: Vec<Value> = data.collect();
        let n_tokens: usize = embeddings.iter().map(|embedding| embedding.n_tokens).sum();
        json!({
            "object": "list",
            "data": data,
            "model": model,
            "usage": {"prompt_tokens": n_tokens, "total_tokens": n_tokens},
        })
    }

    fn vector(&self, embedding: &Embedding) -> Value {
        let n_values = self.dimensions.unwrap_or(usize::MAX);
        let values = match self.is_normalized {
            true => embedding.normalized(self.dimensions),
            false => embedding.values.iter().take(n_values).copied().collect(),
        };
        if !self.is_base64 {
            return values.into();
        }
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        BASE64_STANDARD.encode(bytes).into()
    }
}

/// Texts or lists of token ids, or one of them. An empty one has no hidden states.
fn inputs(value: &Value) -> Result<Vec<Prompt>, String> {
    let inputs = fields::prompts(value)?;
    for input in &inputs {
        match input {
            Prompt::Text(text) if text.is_empty() => return Err("a text is empty; leave it out".to_owned()),
            Prompt::Tokens(tokens) if tokens.is_empty() => {
                return Err("a list of tokens is empty; leave it out".to_owned());
            }
            _ => {}
        }
    }
    Ok(inputs)
}
