//! Parses an input line as a request.

use serde_json::Value;
use sm_runtime::{ChatRequest, GenerationOptions, Message, Prompt, Request};

use super::fields::Fields;
use super::lines::Line;
use crate::named_option;

/// Mutually exclusive fields.
const FORMS: [&str; 4] = ["json_schema", "json_object", "regex", "grammar"];

/// A parsed line.
#[derive(Debug)]
pub(super) struct ParsedLine {
    pub(super) id: Value,
    /// The request, or why it is invalid.
    pub(super) request: Result<Request, String>,
}

impl ParsedLine {
    /// Parses a line. `defaults` apply to options it does not set; their seed is that of line 1.
    pub(super) fn new(line: &Line, defaults: &GenerationOptions) -> Self {
        let fields = fields(line);
        let id = id(line, &fields);
        Self { id, request: fields.and_then(|fields| request(&fields, line.number, defaults)) }
    }
}

/// The line's own `id`, or its number.
pub(super) fn id_of(line: &Line) -> Value {
    id(line, &fields(line))
}

fn fields(line: &Line) -> Result<Fields, String> {
    line.text.as_deref().map_err(Clone::clone).and_then(Fields::parse)
}

fn id(line: &Line, fields: &Result<Fields, String>) -> Value {
    let own = fields.as_ref().ok().and_then(|fields| fields.get("id")).filter(|id| is_id(id));
    own.cloned().unwrap_or_else(|| line.number.into())
}

/// Other numbers might not round-trip.
fn is_id(value: &Value) -> bool {
    value.is_string() || value.is_i64() || value.is_u64()
}

fn request(fields: &Fields, number: u64, defaults: &GenerationOptions) -> Result<Request, String> {
    let mut options = defaults.clone();
    options.sampling.seed = options.sampling.seed.map(|seed| seed.wrapping_add(number - 1));
    let mut builder = RequestBuilder { options, prompt: None };
    let mut seen: Vec<&str> = Vec::with_capacity(fields.0.len());
    for (given, value) in &fields.0 {
        let name = named_option::canonical(given);
        if seen.contains(&name) {
            return Err(format!("{name} is given twice"));
        }
        if let Some(other) = seen.iter().find(|other| FORMS.contains(&name) && FORMS.contains(other)) {
            return Err(format!("{other} and {name} are both given; leave one out"));
        }
        seen.push(name);
        builder.set(name, value).map_err(|message| format!("{given}: {message}"))?;
    }
    let prompt = builder.prompt.ok_or("neither prompt nor messages are given")?;
    builder.options.validate().map_err(|error| error.to_string())?;
    Ok(Request::new(prompt, builder.options))
}

/// A request being built from fields.
struct RequestBuilder {
    options: GenerationOptions,
    prompt: Option<Prompt>,
}

impl RequestBuilder {
    fn set(&mut self, name: &str, value: &Value) -> Result<(), String> {
        match name {
            "id" if is_id(value) => Ok(()),
            "id" => Err("must be a string or a whole number".to_owned()),
            "prompt" => self.set_prompt(Prompt::Text(named_option::text(value)?)),
            "messages" => self.set_messages(value),
            _ => named_option::set(&mut self.options, name, value)
                .unwrap_or_else(|| Err("unknown field; see sm batch --help".to_owned())),
        }
    }

    fn set_messages(&mut self, value: &Value) -> Result<(), String> {
        let list = value.as_array().ok_or_else(|| format!("must be a list of messages, not {value}"))?;
        let messages = Message::list_from_json(list.clone()).map_err(|error| error.to_string())?;
        if messages.is_empty() {
            return Err("the list is empty".to_owned());
        }
        self.set_prompt(ChatRequest::new().messages(messages).into())
    }

    fn set_prompt(&mut self, prompt: Prompt) -> Result<(), String> {
        match self.prompt.replace(prompt) {
            None => Ok(()),
            Some(_) => Err("prompt and messages are both given; leave one out".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use sm_runtime::EosRule;

    use super::*;

    fn parsed(number: u64, text: &str) -> ParsedLine {
        let line = Line { number, end: 0, text: Ok(text.to_owned()) };
        ParsedLine::new(&line, &GenerationOptions::new().seed(u64::MAX))
    }

    #[test]
    fn options_of_a_line_override_the_defaults() {
        let text = r#"{"prompt": "a", "max_tokens": 5, "temp": 0, "stop": "x", "top_k": 3, "ignore_eos": true, "echo": true}"#;
        let Request { prompt, options, .. } = parsed(3, text).request.unwrap();
        assert_eq!(prompt, Prompt::Text("a".to_owned()));
        assert_eq!((options.limits.max_new_tokens, options.sampling.temperature), (5, 0.0));
        assert!(options.echo);
        assert_eq!((options.sampling.top_k, options.sampling.top_p), (3, 0.95));
        assert_eq!((options.stop.sequences, options.stop.eos), (vec!["x".to_owned()], EosRule::Ignore));
        assert_eq!(options.sampling.seed, Some(1));
        let own =
            parsed(3, r#"{"prompt": "a", "seed": 9, "stop": ["x", "y"], "logprobs": 2, "max_time_ms": 8}"#);
        let own = own.request.unwrap().options;
        assert_eq!((own.sampling.seed, own.logprobs, own.limits.max_time_ms), (Some(9), Some(2), Some(8)));
        let chat = parsed(1, r#"{"messages": [{"role": "user", "content": "a"}]}"#).request.unwrap();
        assert_eq!(chat.prompt, ChatRequest::new().user("a").into());
    }

    #[test]
    fn a_line_without_an_id_has_its_number() {
        for (text, id) in [
            (r#"{"prompt": "a", "id": "b"}"#, Value::from("b")),
            (r#"{"prompt": "a", "id": -3}"#, Value::from(-3)),
            (r#"{"x": 1, "id": "kept"}"#, Value::from("kept")),
            (r#"{"prompt": "a"}"#, Value::from(4)),
            (r#"{"prompt": "a", "id": null}"#, Value::from(4)),
            ("nonsense", Value::from(4)),
        ] {
            assert_eq!(parsed(4, text).id, id, "{text}");
        }
    }

    #[test]
    fn errors_name_the_field() {
        for (text, part) in [
            ("{", "column 1"),
            ("7", "object"),
            ("{}", "neither prompt nor messages"),
            (r#"{"prompt": "a", "messages": []}"#, "messages: "),
            (r#"{"prompt": 3}"#, "prompt: must be a text, not 3"),
            (r#"{"prompt": "a", "tempratur": 1}"#, "tempratur: unknown field"),
            (r#"{"prompt": "a", "temp": "hot"}"#, "temp: must be a number, not \"hot\""),
            (r#"{"prompt": "a", "temp": -1}"#, "invalid temperature: -1"),
            (r#"{"prompt": "a", "temp": 1, "temperature": 2}"#, "temp is given twice"),
            (r#"{"prompt": "a", "prompt": "b"}"#, "prompt is given twice"),
            (r#"{"prompt": "a", "regex": "b", "json_object": true}"#, "regex and json_object are both given"),
            (r#"{"prompt": "a", "n_tokens": 0}"#, "invalid max_new_tokens: 0"),
            (r#"{"prompt": "a", "top_k": -2}"#, "top_k: must be a whole number"),
            (r#"{"prompt": "a", "stop": [""]}"#, "invalid stop"),
            (r#"{"prompt": "a", "id": 1.5}"#, "id: must be"),
            (r#"{"messages": [{"content": "a"}]}"#, "messages: message 0"),
        ] {
            let message = parsed(12, text).request.unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
