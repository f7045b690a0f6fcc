//! Lines of OpenAI's batch files: `{"custom_id": …, "method": "POST", "url": "/v1/chat/completions", "body": {…}}`.
//!
//! The fields of `body` are those of the API, and those of our own lines. What changes an answer takes effect or is an error; what
//! does not, such as `user`, is skipped.

mod answer;

use serde_json::{Map, Value};
use sm_runtime::{GenerationOptions, Request};

use super::builder::RequestBuilder;
use super::fields::Fields;
use super::recipient::{Endpoint, Recipient};
use crate::named_option;

pub(super) use answer::{answered, failed};

/// The fields by which such a line is told from our own.
const OWN: [&str; 4] = ["custom_id", "method", "url", "body"];

/// Fields of a body that do not change the answer.
const WITHOUT_EFFECT: [&str; 7] = [
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
];

/// Whether a line is one of OpenAI's.
pub(super) fn is_request(fields: &Fields) -> bool {
    OWN.iter().any(|name| fields.get(name).is_some())
}

/// Parses a line.
pub(super) fn parse(
    fields: &Fields,
    number: u64,
    options: GenerationOptions,
) -> (Recipient, Result<Request, String>) {
    let id = fields.get("custom_id").filter(|id| id.is_string()).cloned();
    let model = fields.get("body").and_then(|body| body.get("model")).and_then(Value::as_str);
    let endpoint = endpoint(fields);
    let recipient = Recipient::open_ai(
        id.unwrap_or_else(|| number.into()),
        number,
        endpoint.as_ref().copied().unwrap_or(Endpoint::ChatCompletions),
        model.unwrap_or_default().to_owned(),
    );
    (recipient, endpoint.and_then(|endpoint| request(fields, endpoint, options)))
}

fn endpoint(fields: &Fields) -> Result<Endpoint, String> {
    let urls = || Endpoint::URLS.map(|(url, _)| url).join(" or ");
    let given = fields.get("url").ok_or_else(|| format!("url: missing; it must be {}", urls()))?;
    let found = Endpoint::URLS.into_iter().find(|(url, _)| given == url);
    found.map(|(_, endpoint)| endpoint).ok_or_else(|| format!("url: must be {}, not {given}", urls()))
}

fn request(fields: &Fields, endpoint: Endpoint, options: GenerationOptions) -> Result<Request, String> {
    let mut seen: Vec<&str> = Vec::with_capacity(OWN.len());
    for (name, value) in &fields.0 {
        if seen.contains(&name.as_str()) {
            return Err(format!("{name} is given twice"));
        }
        seen.push(name);
        match (name.as_str(), value) {
            ("custom_id", Value::String(_)) | ("url", _) | ("body", Value::Object(_)) => {}
            ("method", method) if method == "POST" => {}
            ("custom_id", _) => return Err("custom_id: must be a string".to_owned()),
            ("method", method) => return Err(format!("method: must be \"POST\", not {method}")),
            ("body", _) => return Err("body: must be an object".to_owned()),
            _ => return Err(format!("{name}: unknown field; an OpenAI line has {}", OWN.join(", "))),
        }
    }
    if let Some(missing) = ["custom_id", "body"].into_iter().find(|name| fields.get(name).is_none()) {
        return Err(format!("{missing}: missing"));
    }
    let body = fields.get("body").and_then(Value::as_object);
    let reader = Body {
        endpoint,
        builder: RequestBuilder::new(options),
        has_logprobs: false,
        n_top: None,
        has_tools: true,
    };
    reader.read(body.unwrap_or(&Map::new()))
}

/// The body of a request being read.
struct Body {
    endpoint: Endpoint,
    builder: RequestBuilder,
    has_logprobs: bool,
    n_top: Option<usize>,
    /// Whether the model may see the tools.
    has_tools: bool,
}

impl Body {
    fn read(mut self, body: &Map<String, Value>) -> Result<Request, String> {
        // Clients write fields that are not set as null.
        for (name, value) in body.iter().filter(|(_, value)| !value.is_null()) {
            self.set(name, value).map_err(|message| format!("body.{name}: {message}"))?;
        }
        match (self.has_logprobs, self.n_top) {
            (true, n_top) => self.builder.options.logprobs = Some(n_top.unwrap_or(0)),
            (false, Some(_)) => return Err("body.top_logprobs: only with \"logprobs\": true".to_owned()),
            (false, None) => {}
        }
        if !self.has_tools {
            self.builder.tools.clear();
        }
        self.builder.build()
    }

    fn set(&mut self, name: &str, value: &Value) -> Result<(), String> {
        let is_chat = self.endpoint == Endpoint::ChatCompletions;
        match (name, value) {
            ("model", Value::String(_)) => Ok(()),
            ("model", _) => Err("must be a text".to_owned()),
            ("prompt", _) if is_chat => Err("this endpoint has messages".to_owned()),
            ("messages", _) if !is_chat => Err("this endpoint has a prompt".to_owned()),
            ("prompt", _) => self.builder.set(name, only(value)),
            ("messages", _) => self.builder.set(name, &with_known_roles(value)),
            ("logprobs", _) if is_chat => {
                self.has_logprobs = value.as_bool().ok_or("must be true or false")?;
                Ok(())
            }
            ("top_logprobs", _) if is_chat => {
                self.n_top = Some(named_option::count(value)?);
                Ok(())
            }
            ("reasoning_effort", Value::String(_)) if is_chat => {
                self.builder.variables.push((name.to_owned(), value.clone()));
                Ok(())
            }
            ("stream", Value::Bool(false)) => Ok(()),
            ("stream", _) => Err("an answer in a file is no stream; leave it out".to_owned()),
            ("tool_choice", choice) if choice == "auto" || choice == "none" => {
                self.has_tools = choice == "auto";
                Ok(())
            }
            ("tool_choice", _) => Err("only \"auto\" and \"none\" are possible".to_owned()),
            ("parallel_tool_calls", Value::Bool(true)) => Ok(()),
            ("parallel_tool_calls", _) => {
                Err("how many tools are called cannot be enforced; leave it out".to_owned())
            }
            ("modalities", modalities) if *modalities == serde_json::json!(["text"]) => Ok(()),
            ("best_of", n) if n == 1 => Ok(()),
            _ if WITHOUT_EFFECT.contains(&name) => Ok(()),
            _ => self.builder.set(name, value),
        }
    }
}

/// The only prompt of a list of prompts.
fn only(value: &Value) -> &Value {
    match value.as_array().map(Vec::as_slice) {
        Some([only]) if only.is_string() || only.is_array() => only,
        _ => value,
    }
}

/// Messages whose role `developer`, which newer models have for `system`, is called that.
fn with_known_roles(messages: &Value) -> Value {
    let mut messages = messages.clone();
    for message in messages.as_array_mut().into_iter().flatten() {
        if let Some(role) = message.get_mut("role").filter(|role| *role == "developer") {
            *role = Value::from("system");
        }
    }
    messages
}

#[cfg(test)]
mod tests;
