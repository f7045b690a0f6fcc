//! Prompts: texts, tokens, both in one list, or objects that hold a text; one or several.

use serde_json::Value;
use sm_runtime::Prompt;
use sm_runtime::model::tokenizer::{EncodeOptions, Tokenizer};

use crate::wire::{fields, options};

/// Reads the prompts of a body, and whether it has a list of them.
///
/// # Errors
/// What a prompt must be.
pub(super) fn prompts(
    value: &Value,
    tokenizer: Option<&dyn Tokenizer>,
) -> Result<(Vec<Prompt>, bool), String> {
    match value.as_array().map(Vec::as_slice) {
        Some([]) => Err("is an empty list".to_owned()),
        Some(list) if list.iter().all(|each| !each.is_number()) => {
            Ok((list.iter().map(|each| prompt(each, tokenizer)).collect::<Result<_, _>>()?, true))
        }
        _ => Ok((vec![prompt(value, tokenizer)?], false)),
    }
}

fn prompt(value: &Value, tokenizer: Option<&dyn Tokenizer>) -> Result<Prompt, String> {
    match value {
        Value::Object(object) => {
            if object.get("multimodal_data").is_some_and(|data| !data.is_null()) {
                return Err("has multimodal_data, but the model reads text only; leave it out".to_owned());
            }
            let text = object.get("prompt_string").ok_or("must have a prompt_string")?;
            options::text(text).map(Prompt::Text)
        }
        Value::Array(parts) if parts.iter().any(Value::is_string) => mixed(parts, tokenizer),
        _ => fields::prompt(value),
    }
}

/// Tokens and texts in turn. Only a text at the beginning gets the marks of the tokenizer.
fn mixed(parts: &[Value], tokenizer: Option<&dyn Tokenizer>) -> Result<Prompt, String> {
    let tokenizer = tokenizer.ok_or("has texts, but the model has no tokenizer; send tokens only")?;
    let mut tokens = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        match part {
            Value::String(text) => {
                let marks = if index == 0 { EncodeOptions::PROMPT } else { EncodeOptions::RENDERED_CHAT };
                tokens.extend(tokenizer.encode(text, marks).map_err(|error| error.to_string())?);
            }
            part => tokens.extend(options::tokens(&Value::Array(vec![part.clone()]))?),
        }
    }
    Ok(Prompt::Tokens(tokens))
}
