//! Parses an input line as a request.

use serde_json::Value;
use sm_runtime::{ChatRequest, GenerationOptions, Message, Prompt, Request};

use super::fields::Fields;
use super::lines::Line;
use super::openai;
use super::recipient::Recipient;
use crate::named_option;

/// Mutually exclusive fields.
const FORMS: [&str; 5] = ["json_schema", "json_object", "regex", "grammar", "response_format"];

/// A parsed line.
#[derive(Debug)]
pub(super) struct ParsedLine {
    /// Who gets the answer.
    pub(super) recipient: Recipient,
    /// The request, or why it is invalid.
    pub(super) request: Result<Request, String>,
}

impl ParsedLine {
    /// Parses a line. `defaults` apply to options it does not set; their seed is that of line 1.
    pub(super) fn new(line: &Line, defaults: &GenerationOptions) -> Self {
        let fields = fields(line);
        let mut options = defaults.clone();
        options.sampling.seed = options.sampling.seed.map(|seed| seed.wrapping_add(line.number - 1));
        let own = fields.as_ref().ok().filter(|fields| openai::is_request(fields));
        if let Some(fields) = own {
            let (recipient, request) = openai::parse(fields, line.number, options);
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
pub(super) fn is_id(value: &Value) -> bool {
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

/// A request being built from fields.
#[derive(Debug)]
pub(super) struct RequestBuilder {
    pub(super) options: GenerationOptions,
    prompt: Option<Prompt>,
    messages: Option<Vec<Message>>,
    tools: Vec<Value>,
    /// Variables of the chat template.
    pub(super) variables: Vec<(String, Value)>,
    n: usize,
    /// The canonical names of the fields so far.
    seen: Vec<String>,
}

impl RequestBuilder {
    pub(super) fn new(options: GenerationOptions) -> Self {
        Self {
            options,
            prompt: None,
            messages: None,
            tools: Vec::new(),
            variables: Vec::new(),
            n: 1,
            seen: Vec::new(),
        }
    }

    /// Refuses a field that was given before, by this name or another, or that excludes one that was.
    pub(super) fn note(&mut self, given: &str) -> Result<(), String> {
        let name = named_option::canonical(given);
        if self.seen.iter().any(|seen| seen == name) {
            return Err(format!("{name} is given twice"));
        }
        let is_form = |name: &str| FORMS.contains(&name);
        if let Some(other) = self.seen.iter().find(|other| is_form(name) && is_form(other)) {
            return Err(format!("{other} and {name} are both given; leave one out"));
        }
        self.seen.push(name.to_owned());
        Ok(())
    }

    /// Sets a field.
    pub(super) fn set(&mut self, given: &str, value: &Value) -> Result<(), String> {
        self.note(given)?;
        let name = named_option::canonical(given);
        match name {
            "prompt" => self.prompt = Some(prompt(value)?),
            "messages" => self.messages = Some(messages(value)?),
            "tools" => self.tools = objects(value)?,
            "chat_template_kwargs" => {
                let variables = value.as_object().ok_or("must be an object of the template's variables")?;
                self.variables.extend(variables.clone());
            }
            "n" => self.n = n_choices(value)?,
            _ => {
                return named_option::set(&mut self.options, name, value)
                    .unwrap_or_else(|| Err("unknown field; see sm batch --help".to_owned()));
            }
        }
        Ok(())
    }

    /// The request.
    ///
    /// # Errors
    /// If the prompt is missing, given twice, or an option is invalid.
    pub(super) fn build(self) -> Result<Request, String> {
        let has_chat_fields = !self.tools.is_empty() || !self.variables.is_empty();
        let prompt = match (self.prompt, self.messages) {
            (Some(_), Some(_)) => {
                return Err("messages: prompt and messages are both given; leave one out".to_owned());
            }
            (Some(_), None) if has_chat_fields => {
                return Err("tools and chat_template_kwargs are for messages, not for a prompt".to_owned());
            }
            (Some(prompt), None) => prompt,
            (None, Some(messages)) => {
                let chat = ChatRequest::new().messages(messages).tools(self.tools);
                self.variables
                    .into_iter()
                    .fold(chat, |chat, (name, value)| chat.variable(&name, value))
                    .into()
            }
            (None, None) => return Err("neither prompt nor messages are given".to_owned()),
        };
        self.options.validate().map_err(|error| error.to_string())?;
        Ok(Request::new(prompt, self.options).n(self.n))
    }
}

/// Reads a prompt: a text, or token ids.
fn prompt(value: &Value) -> Result<Prompt, String> {
    match value {
        Value::Array(_) => named_option::tokens(value).map(Prompt::Tokens),
        _ => named_option::text(value).map(Prompt::Text),
    }
}

fn messages(value: &Value) -> Result<Vec<Message>, String> {
    let list = value.as_array().ok_or_else(|| format!("must be a list of messages, not {value}"))?;
    let messages = Message::list_from_json(list.clone()).map_err(|error| error.to_string())?;
    if messages.is_empty() { Err("the list is empty".to_owned()) } else { Ok(messages) }
}

fn objects(value: &Value) -> Result<Vec<Value>, String> {
    let objects = value.as_array().filter(|list| list.iter().all(Value::is_object));
    objects.cloned().ok_or_else(|| "must be a list of objects".to_owned())
}

fn n_choices(value: &Value) -> Result<usize, String> {
    let n = value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
    n.ok_or_else(|| format!("must be a whole number of 1 or more, not {value}"))
}

#[cfg(test)]
mod tests {
    use sm_runtime::{EosRule, TokenId};

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
