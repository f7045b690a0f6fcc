//! What all readers of fields need: which were given, and values that are no options.

use serde_json::{Map, Value};
use sm_runtime::Prompt;

use super::options;

/// Forms of an output, of which there can be one.
const FORMS: [&str; 10] = [
    "json_schema",
    "json_object",
    "regex",
    "grammar",
    "response_format",
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
];

/// The canonical names of the fields so far, of which several mean the same.
#[derive(Clone, Debug, Default)]
pub struct SeenFields(Vec<String>);

impl SeenFields {
    /// Notes a field.
    ///
    /// # Errors
    /// If it was given before, by this name or another, or excludes one that was.
    pub fn note(&mut self, given: &str) -> Result<(), String> {
        let name = options::canonical(given);
        if self.0.iter().any(|seen| seen == name) {
            return Err(format!("{name} is given twice"));
        }
        let is_form = |name: &str| FORMS.contains(&name);
        if let Some(other) = self.0.iter().find(|other| is_form(name) && is_form(other)) {
            return Err(format!("{other} and {name} are both given; leave one out"));
        }
        self.0.push(name.to_owned());
        Ok(())
    }
}

/// Reads a list of objects, such as the functions that a model may call.
///
/// # Errors
/// What it must be.
pub fn objects(value: &Value) -> Result<Vec<Value>, String> {
    let objects = value.as_array().filter(|list| list.iter().all(Value::is_object));
    objects.cloned().ok_or_else(|| "must be a list of objects".to_owned())
}

/// Reads variables of the chat template.
///
/// # Errors
/// What they must be.
pub fn variables(value: &Value) -> Result<Map<String, Value>, String> {
    value.as_object().cloned().ok_or_else(|| "must be an object of the template's variables".to_owned())
}

/// The most prompts in a body, as OpenAI's.
pub const MAX_PROMPTS: usize = 2048;

/// Reads prompts: a list of texts or of lists of token ids, or one of them.
///
/// # Errors
/// What they must be.
pub fn prompts(value: &Value) -> Result<Vec<Prompt>, String> {
    match value.as_array() {
        Some(list) if list.first().is_some_and(|first| first.is_string() || first.is_array()) => {
            if list.len() > MAX_PROMPTS {
                return Err(format!(
                    "has {} texts, of which {MAX_PROMPTS} are allowed; divide it",
                    list.len()
                ));
            }
            list.iter().map(prompt).collect()
        }
        _ => Ok(vec![prompt(value)?]),
    }
}

/// Reads a prompt: a text, or token ids.
///
/// # Errors
/// What it must be, and what it is.
pub fn prompt(value: &Value) -> Result<Prompt, String> {
    match value {
        Value::Array(_) => options::tokens(value).map(Prompt::Tokens),
        _ => options::text(value).map(Prompt::Text),
    }
}
