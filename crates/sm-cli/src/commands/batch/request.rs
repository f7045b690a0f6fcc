//! Parses an input line as a request.

use serde_json::Value;
use sm_runtime::{GenerationOptions, LoadedModel, Request};

use super::builder::RequestBuilder;
use super::fields::Fields;
use super::lines::Line;
use super::openai;
use super::recipient::Recipient;

/// A parsed line.
#[derive(Debug)]
pub(super) struct ParsedLine {
    /// Who gets the answer.
    pub(super) recipient: Recipient,
    /// The request, or why it is invalid.
    pub(super) request: Result<Request, String>,
}

impl ParsedLine {
    /// Parses a line, whose messages are fitted to the model. `defaults` apply to options it does not set; their seed is that of line 1.
    pub(super) fn new(line: &Line, defaults: &GenerationOptions, model: Option<&LoadedModel>) -> Self {
        let fields = fields(line);
        let mut options = defaults.clone();
        options.sampling.seed = options.sampling.seed.map(|seed| seed.wrapping_add(line.number - 1));
        let own = fields.as_ref().ok().filter(|fields| openai::is_request(fields));
        if let Some(fields) = own {
            let (recipient, request) = openai::parse(fields, line.number, options, model);
            return Self { recipient, request };
        }
        let mut recipient = Recipient::plain(id(line, &fields));
        let request = fields.and_then(|fields| request(&fields, options));
        recipient.is_list = request.as_ref().is_ok_and(|request| request.n > 1);
        Self { recipient, request }
    }
}

/// The line's own `id` or `custom_id`, or its number.
pub(super) fn id_of(line: &Line) -> Value {
    id(line, &fields(line))
}

fn fields(line: &Line) -> Result<Fields, String> {
    line.text.as_deref().map_err(Clone::clone).and_then(Fields::parse)
}

fn id(line: &Line, fields: &Result<Fields, String>) -> Value {
    let own = fields.as_ref().ok().and_then(|fields| {
        let name = if openai::is_request(fields) { "custom_id" } else { "id" };
        fields.get(name).filter(|id| is_id(id))
    });
    own.cloned().unwrap_or_else(|| line.number.into())
}

/// Other numbers might not round-trip.
fn is_id(value: &Value) -> bool {
    value.is_string() || value.is_i64() || value.is_u64()
}

fn request(fields: &Fields, options: GenerationOptions) -> Result<Request, String> {
    let mut builder = RequestBuilder::new(options);
    for (given, value) in &fields.0 {
        let set = match given.as_str() {
            "id" if is_id(value) => builder.note(given),
            "id" => Err("must be a string or a whole number".to_owned()),
            _ => builder.set(given, value),
        };
        set.map_err(|message| format!("{given}: {message}"))?;
    }
    builder.build()
}

#[cfg(test)]
mod tests {
    use sm_runtime::{ChatRequest, EosRule, Prompt, TokenId};

    use super::*;

    fn parsed(number: u64, text: &str) -> ParsedLine {
        let line = Line { number, end: 0, text: Ok(text.to_owned()) };
        ParsedLine::new(&line, &GenerationOptions::new().seed(u64::MAX), None)
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
        let many = parsed(1, r#"{"prompt": [5, 7], "n": 3, "max_completion_tokens": 4}"#);
        assert!(many.recipient.is_list);
        let many = many.request.unwrap();
        assert_eq!((many.prompt, many.n), (Prompt::Tokens(vec![TokenId(5), TokenId(7)]), 3));
        assert_eq!(many.options.limits.max_new_tokens, 4);
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
            assert_eq!(*parsed(4, text).recipient.id(), id, "{text}");
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
            (r#"{"prompt": [1, "a"]}"#, "prompt: must be a list of token ids"),
            (r#"{"prompt": "a", "n": 0}"#, "n: must be a whole number of 1 or more, not 0"),
            (r#"{"prompt": "a", "tools": [{}]}"#, "tools and chat_template_kwargs are for messages"),
            (r#"{"prompt": "a", "response_format": {"type": "xml"}}"#, "response_format: "),
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
