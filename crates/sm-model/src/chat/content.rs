//! The content of messages, in the form that a template takes: a text, or a list of parts; with the control tokens in it sealed.
//!
//! Callers write `content` as OpenAI's format has it: a string, a list of parts such as `{"type": "text", "text": "Hi"}`, or null in
//! a message that only calls tools. Many templates know strings only, and would print a list as Python does. Such a template
//! shows in a trial, so what it gets are the texts of the parts, one after the other.

use serde_json::{Map, Value, json};

use super::{ChatError, ChatRequest, Message};
use crate::tokenizer::{Guard, Sealer};

/// Marks a part whose special tokens are meant: `{"type": "text", "text": "<think>", "parse_special": true}`.
const PARSE_SPECIAL: &str = "parse_special";

/// What a template does with a list of parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parts {
    /// It writes their texts.
    Taken,
    /// It fails, or prints them as data.
    Unknown,
}

/// A message with two parts, and whether their render shows that the template knows parts.
pub(super) fn trial() -> (Message, fn(&str) -> Parts) {
    const TEXTS: [&str; 2] = ["first trial", "second trial"];
    let parts = TEXTS.map(|text| json!({"type": "text", "text": text}));
    let message = Message(Map::from_iter([
        ("role".to_owned(), "user".into()),
        ("content".to_owned(), Value::Array(parts.into())),
    ]));
    let judge = |rendered: &str| {
        let shows = TEXTS.iter().all(|text| rendered.contains(text));
        let is_data = ["'text'", "\"text\""].iter().any(|key| rendered.contains(key));
        if shows && !is_data { Parts::Taken } else { Parts::Unknown }
    };
    (message, judge)
}

/// Whether a message has a list of parts.
pub(super) fn has_parts(messages: &[Message]) -> bool {
    messages.iter().any(|message| message.0.get("content").is_some_and(Value::is_array))
}

/// The messages of a request for a template.
pub(super) struct Prepared<'g> {
    pub(super) messages: Vec<Message>,
    pub(super) documents: Vec<Value>,
    pub(super) tools: Vec<Value>,
    /// Opens what the template made of them.
    pub(super) sealer: Option<Sealer<'g>>,
}

impl<'g> Prepared<'g> {
    /// Checks the contents and seals all texts, if there is a guard.
    ///
    /// # Errors
    /// [`ChatError::Content`]
    pub(super) fn new(
        request: &ChatRequest<'_>,
        parts: Parts,
        guard: Option<&'g Guard>,
    ) -> Result<Self, ChatError> {
        let sealer = guard.map(|guard| guard.sealer(|mark| contains(request, mark)));
        let message = |(idx, message): (usize, &Message)| {
            let fields = message.0.iter().map(|(name, field)| match name.as_str() {
                "content" => Ok((name.clone(), content(message, idx, parts, sealer)?)),
                _ => Ok((name.clone(), sealed(field, sealer))),
            });
            fields.collect::<Result<_, ChatError>>().map(Message)
        };
        let all = |values: &[Value]| values.iter().map(|value| sealed(value, sealer)).collect();
        Ok(Self {
            messages: request.messages.iter().enumerate().map(message).collect::<Result<_, _>>()?,
            documents: all(request.documents),
            tools: all(request.tools),
            sealer,
        })
    }

    /// Makes contents that are null empty texts; whether there are any.
    pub(super) fn blank_nulls(&mut self) -> bool {
        let contents = self.messages.iter_mut().filter_map(|message| message.0.get_mut("content"));
        contents.filter(|content| content.is_null()).map(|content| *content = "".into()).count() > 0
    }
}

/// Whether a character occurs in what a caller said.
fn contains(request: &ChatRequest<'_>, character: char) -> bool {
    let in_messages = request.messages.iter().flat_map(|message| message.0.values());
    in_messages.chain(request.documents).chain(request.tools).any(|value| contained_in(value, character))
}

fn contained_in(value: &Value, character: char) -> bool {
    match value {
        Value::String(text) => text.contains(character),
        Value::Array(items) => items.iter().any(|item| contained_in(item, character)),
        Value::Object(fields) => fields.values().any(|field| contained_in(field, character)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The value with its texts sealed.
fn sealed(value: &Value, sealer: Option<Sealer<'_>>) -> Value {
    let Some(some_sealer) = sealer else { return value.clone() };
    match value {
        Value::String(text) => some_sealer.seal(&[text]).concat().into(),
        Value::Array(items) => items.iter().map(|item| sealed(item, sealer)).collect(),
        Value::Object(fields) => {
            let names = fields.keys().map(|name| some_sealer.seal(&[name]).concat());
            names.zip(fields.values().map(|field| sealed(field, sealer))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// The content of a message for a template.
fn content(
    message: &Message,
    idx: usize,
    parts: Parts,
    sealer: Option<Sealer<'_>>,
) -> Result<Value, ChatError> {
    let refused = |reason: String| ChatError::Content { idx, role: message.role().to_owned(), reason };
    match &message.0["content"] {
        Value::String(text) => Ok(sealed(&Value::String(text.clone()), sealer)),
        // A message that only calls tools: templates know that. Elsewhere it is an answer of no text.
        Value::Null if message.role() == "assistant" => {
            let calls = message.0.get("tool_calls").and_then(Value::as_array);
            Ok(if calls.is_some_and(|calls| !calls.is_empty()) { Value::Null } else { "".into() })
        }
        Value::Null => {
            Err(refused("null is possible in answers only; give a string, or a list of text parts".into()))
        }
        Value::Array(list) => {
            let list = list.iter().enumerate().map(|(part, value)| {
                text_part(value, parts).map_err(|reason| refused(format!("part {part} {reason}")))
            });
            Ok(joined(&list.collect::<Result<Vec<_>, _>>()?, parts, sealer))
        }
        other => {
            let mut found = other.to_string();
            if let Some((end, _)) = found.char_indices().nth(60) {
                found.replace_range(end.., "…");
            }
            Err(refused(format!("it is {found}; give a string, or a list of text parts")))
        }
    }
}

/// A part with its text; parts of other kinds have none.
struct Part<'a> {
    fields: Map<String, Value>,
    text: Option<&'a str>,
    is_parsed: bool,
}

fn text_part(value: &Value, parts: Parts) -> Result<Part<'_>, String> {
    const MEDIA: [&str; 6] = ["image", "input_image", "audio", "input_audio", "video", "file"];
    let kind = value["type"].as_str();
    let text = match value {
        Value::String(text) => Some(text.as_str()),
        _ => value["text"].as_str().filter(|_| kind.is_none_or(|kind| kind == "text")),
    };
    let is_medium = kind.is_some_and(|kind| MEDIA.iter().any(|medium| kind.starts_with(medium)));
    if text.is_none() && (is_medium || parts == Parts::Unknown || !value.is_object()) {
        let kind = kind.map_or_else(|| "is not".to_owned(), |kind| format!("has the type {kind:?}, not"));
        return Err(format!("{kind} {{\"type\": \"text\", \"text\": \"…\"}}; only text can be read"));
    }
    let mut fields = value.as_object().cloned().unwrap_or_default();
    let is_parsed = fields.shift_remove(PARSE_SPECIAL) == Some(Value::Bool(true));
    Ok(Part { fields, text, is_parsed })
}

/// The parts as a list, or their texts as one.
fn joined(list: &[Part<'_>], parts: Parts, sealer: Option<Sealer<'_>>) -> Value {
    // Texts that stand together are sealed together: a control token may be spread over several.
    let mut texts = Vec::with_capacity(list.len());
    for run in list.chunk_by(|a, b| a.is_parsed == b.is_parsed) {
        let run_texts: Vec<&str> = run.iter().map(|part| part.text.unwrap_or_default()).collect();
        match sealer.filter(|_| !run[0].is_parsed) {
            Some(sealer) => texts.extend(sealer.seal(&run_texts)),
            None => texts.extend(run_texts.into_iter().map(str::to_owned)),
        }
    }
    if parts == Parts::Unknown {
        return texts.concat().into();
    }
    let part = |(part, text): (&Part<'_>, String)| match part.text {
        Some(_) if part.fields.is_empty() => text.into(),
        Some(_) => {
            let mut fields = part.fields.clone();
            fields.insert("text".to_owned(), text.into());
            Value::Object(fields)
        }
        None => sealed(&Value::Object(part.fields.clone()), sealer),
    };
    list.iter().zip(texts).map(part).collect()
}
