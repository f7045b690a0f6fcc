//! Lines of OpenAI's batch files: `{"custom_id": …, "method": "POST", "url": "/v1/chat/completions", "body": {…}}`.
//!
//! The fields of `body` are those of the API, and those of our own lines. What changes an answer takes effect or is an error; what
//! does not, such as `user`, is skipped.

mod answer;

use serde_json::Value;
use sm_runtime::{GenerationOptions, LoadedModel, Request};
use sm_server::wire::openai::{Call, Endpoint, Extras, read};

use super::fields::Fields;
use super::recipient::{OpenAiForm, Recipient};

pub(super) use answer::{answered, failed};

/// The fields by which such a line is told from our own.
const OWN: [&str; 4] = ["custom_id", "method", "url", "body"];

/// Whether a line is one of OpenAI's.
pub(super) fn is_request(fields: &Fields) -> bool {
    OWN.iter().any(|name| fields.get(name).is_some())
}

/// Parses a line, and fits its messages to the model.
pub(super) fn parse(
    fields: &Fields,
    number: u64,
    options: GenerationOptions,
    model: Option<&LoadedModel>,
) -> (Recipient, Result<Request, String>) {
    let id = fields.get("custom_id").filter(|id| id.is_string()).cloned();
    let name = fields.get("body").and_then(|body| body.get("model")).and_then(Value::as_str);
    let endpoint = endpoint(fields);
    let mut form = OpenAiForm {
        endpoint: endpoint.as_ref().copied().unwrap_or(Endpoint::ChatCompletions),
        model: name.unwrap_or_default().to_owned(),
        reading: None,
        extras: Extras::default(),
    };
    let request = endpoint.and_then(|endpoint| {
        let mut call = call(fields, endpoint, options)?;
        if let Some(model) = model {
            form.reading = call.prepare(model, None).map_err(|error| format!("body.{error}"))?;
        }
        form.extras = call.extras;
        Ok(call.request)
    });
    (Recipient::open_ai(id.unwrap_or_else(|| number.into()), number, form), request)
}

fn endpoint(fields: &Fields) -> Result<Endpoint, String> {
    let urls = || Endpoint::PATHS.map(|(url, _)| url).join(" or ");
    let given = fields.get("url").ok_or_else(|| format!("url: missing; it must be {}", urls()))?;
    let found = Endpoint::PATHS.into_iter().find(|(url, _)| given == url);
    found.map(|(_, endpoint)| endpoint).ok_or_else(|| format!("url: must be {}, not {given}", urls()))
}

fn call(fields: &Fields, endpoint: Endpoint, options: GenerationOptions) -> Result<Call, String> {
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
    let body = fields.get("body").and_then(Value::as_object).cloned().unwrap_or_default();
    let call = read(endpoint, &body, options).map_err(|error| format!("body.{error}"))?;
    if !call.other_prompts.is_empty() {
        return Err("body.prompt: must be one prompt; write a line for each".to_owned());
    }
    if call.is_stream {
        return Err("body.stream: an answer in a file is no stream; leave it out".to_owned());
    }
    Ok(call)
}

#[cfg(test)]
mod tests;
