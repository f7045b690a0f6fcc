//! Reads the bodies of `/api/embed` and `/api/embeddings`.

use serde_json::{Map, Value};
use sm_runtime::GenerationOptions;

use super::duration::KeepAlive;
use super::options::apply;
use crate::wire::openai::EmbeddingsCall;
use crate::wire::{FieldError, options};

/// Which endpoint's body it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmbedForm {
    /// `/api/embed`: texts, whose vectors have length 1.
    Embed,
    /// `/api/embeddings`: a text, whose vector has any length.
    Embeddings,
}

/// What a body asks for.
#[derive(Clone, Debug)]
pub struct EmbedAsk {
    /// The texts, none where the model is only to be loaded, and what becomes of their vectors.
    pub call: EmbeddingsCall,
    /// How long the model stays loaded, if the body says so.
    pub keep_alive: Option<KeepAlive>,
}

impl EmbedAsk {
    /// Reads a body.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn read(body: &Map<String, Value>, form: EmbedForm) -> Result<Self, FieldError> {
        let input = match form {
            EmbedForm::Embed => "input",
            EmbedForm::Embeddings => "prompt",
        };
        let mut call = Map::from_iter([("normalize".to_owned(), (form == EmbedForm::Embed).into())]);
        let mut keep_alive = None;
        for (name, value) in body.iter().filter(|(_, value)| !value.is_null()) {
            let set = match name.as_str() {
                "model" | "name" => options::text(value).map(drop),
                "keep_alive" => KeepAlive::read(value).map(|it| keep_alive = Some(it)),
                // A text that does not fit is an error and never cut.
                "truncate" => options::flag(value).map(drop),
                "options" => match value.as_object() {
                    // Nothing is sampled, but what is wrong is wrong.
                    Some(given) => {
                        let mut options = GenerationOptions::new();
                        apply(&mut options, given)?;
                        options.validate().map_err(|error| error.to_string())
                    }
                    None => Err("must be an object of options".to_owned()),
                },
                "dimensions" if form == EmbedForm::Embed => {
                    call.insert(name.clone(), value.clone());
                    options::count(value)
                        .and_then(|n| if n == 0 { Err("must be 1 or more".to_owned()) } else { Ok(()) })
                }
                name if name == input => {
                    call.insert("input".to_owned(), value.clone());
                    Ok(())
                }
                _ => Err("unknown field; correct its name, or leave it out".to_owned()),
            };
            set.map_err(|message| FieldError::new(name, message))?;
        }
        let is_empty = match call.get("input") {
            None => true,
            Some(Value::String(text)) => text.is_empty(),
            Some(Value::Array(list)) => list.is_empty(),
            Some(_) => false,
        };
        if is_empty {
            call.remove("input");
        }
        let call = EmbeddingsCall::read_any(&call).map_err(|error| match error.field.as_str() {
            "input" => FieldError::new(input, error.message),
            _ => error,
        })?;
        Ok(Self { call, keep_alive })
    }
}
