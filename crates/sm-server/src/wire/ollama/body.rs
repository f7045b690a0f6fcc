//! Reads the bodies of `/api/chat` and `/api/generate`.

use serde_json::{Map, Value, json};
use sm_runtime::{GenerationOptions, Prompt, Request, TokenId};

use super::duration::KeepAlive;
use super::messages::messages;
use super::options::apply;
use crate::wire::openai::{self, Call, Endpoint};
use crate::wire::{FieldError, fields, options};

/// What a body asks for.
#[derive(Debug)]
pub struct Ask<S> {
    /// What is to be answered; `None` where the model is only to be loaded, or unloaded.
    pub source: Option<S>,
    /// Whether the answer is a stream, which it is by default.
    pub is_stream: bool,
    /// How long the model stays loaded, if the body says so.
    pub keep_alive: Option<KeepAlive>,
    /// Whether the model is asked to think.
    pub thinks: bool,
}

/// What `/api/chat` is asked for.
pub type ChatAsk = Ask<Call>;
/// What `/api/generate` is asked for.
pub type GenerateAsk = Ask<Source>;

/// What `/api/generate` answers.
#[derive(Debug)]
pub enum Source {
    /// A message.
    Message(Call),
    /// A message after earlier ones and their answers.
    After(Vec<TokenId>, Call),
    /// A prompt as it is.
    Raw(RawPrompt),
}

/// A prompt that no template renders.
#[derive(Debug)]
pub struct RawPrompt {
    /// The request to the engine.
    pub request: Request,
}

/// Reads the body of `/api/chat`. `defaults` apply to what it does not set.
///
/// # Errors
/// The first field that is wrong.
pub fn chat(body: &Map<String, Value>, defaults: GenerationOptions) -> Result<ChatAsk, FieldError> {
    let mut reader = Reader::new(defaults);
    let mut chat = None;
    for (name, value) in given(body) {
        let own = match name.as_str() {
            "messages" => messages(value).map(|list| chat = Some(list)),
            "tools" => tools(value).map(|list| reader.pass_on("tools", list)),
            _ => reader.set(name, value)?.unwrap_or_else(unknown),
        };
        own.map_err(|message| FieldError::new(name, message))?;
    }
    let chat = chat.filter(|list| list.as_array().is_some_and(|list| !list.is_empty()));
    reader.finish(chat, Ok)
}

/// Reads the body of `/api/generate`. `defaults` apply to what it does not set.
///
/// # Errors
/// The first field that is wrong.
pub fn generate(body: &Map<String, Value>, defaults: GenerationOptions) -> Result<GenerateAsk, FieldError> {
    let mut reader = Reader::new(defaults);
    let mut message = Message::default();
    for (name, value) in given(body) {
        let own = match message.set(name, value) {
            Some(own) => own,
            None => reader.set(name, value)?.unwrap_or_else(unknown),
        };
        own.map_err(|reason| FieldError::new(name, reason))?;
    }
    let Message { prompt, system, context, is_raw } = message;
    if prompt.is_empty() {
        return reader.finish(None, |call| Ok(Source::Message(call)));
    }
    if is_raw {
        if system.is_some() || context.is_some() {
            let reason = "a raw prompt has no template, and so no system or context; leave them out";
            return Err(FieldError::new("raw", reason));
        }
        return reader.finish_raw(prompt);
    }
    let system = system.map(|text| json!({"role": "system", "content": text}));
    let chat: Vec<Value> = system.into_iter().chain([json!({"role": "user", "content": prompt})]).collect();
    reader.finish(Some(chat.into()), |call| {
        Ok(match context {
            Some(context) => Source::After(context, call),
            None => Source::Message(call),
        })
    })
}

/// Functions, whose type old clients leave out.
fn tools(value: &Value) -> Result<Value, String> {
    let mut list = fields::objects(value)?;
    for tool in list.iter_mut().filter(|tool| tool["type"].is_null()) {
        tool["type"] = "function".into();
    }
    Ok(list.into())
}

/// The fields that are set. Clients write what they do not set as null.
fn given(body: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    body.iter().filter(|(_, value)| !value.is_null())
}

fn unknown() -> Result<(), String> {
    Err("unknown field; correct its name, or leave it out".to_owned())
}

/// Whether a value is empty, as clients in Go write what they do not set.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

/// The fields of `/api/generate` alone.
#[derive(Default)]
struct Message {
    prompt: String,
    system: Option<String>,
    context: Option<Vec<TokenId>>,
    is_raw: bool,
}

impl Message {
    fn set(&mut self, name: &str, value: &Value) -> Option<Result<(), String>> {
        Some(match name {
            "prompt" => options::text(value).map(|it| self.prompt = it),
            "raw" => options::flag(value).map(|it| self.is_raw = it),
            "system" | "suffix" | "template" if value.as_str().is_some_and(str::is_empty) => Ok(()),
            "context" | "images" if value.as_array().is_some_and(Vec::is_empty) => Ok(()),
            "system" => options::text(value).map(|it| self.system = Some(it)),
            "context" => options::tokens(value).map(|it| self.context = Some(it)),
            "suffix" => Err("completing the middle of a text is not supported; leave it out".to_owned()),
            "template" => {
                Err("templates of Go are not supported; render the prompt yourself and set raw".to_owned())
            }
            "images" => Err("images cannot be read; send text only".to_owned()),
            _ => return None,
        })
    }
}

/// The fields of both.
struct Reader {
    options: GenerationOptions,
    /// The body of an OpenAI chat.
    chat: Map<String, Value>,
    is_stream: bool,
    keep_alive: Option<KeepAlive>,
    thinks: bool,
}

impl Reader {
    fn new(options: GenerationOptions) -> Self {
        Self { options, chat: Map::new(), is_stream: true, keep_alive: None, thinks: false }
    }

    fn pass_on(&mut self, name: &str, value: Value) {
        self.chat.insert(name.to_owned(), value);
    }

    /// Sets a field; `None` if there is none of this name.
    ///
    /// # Errors
    /// An option that is wrong.
    fn set(&mut self, name: &str, value: &Value) -> Result<Option<Result<(), String>>, FieldError> {
        Ok(Some(match name {
            "model" => options::text(value).map(drop),
            "stream" => options::flag(value).map(|it| self.is_stream = it),
            "keep_alive" => KeepAlive::read(value).map(|it| self.keep_alive = Some(it)),
            "options" => match value.as_object() {
                Some(given) => {
                    apply(&mut self.options, given)?;
                    Ok(())
                }
                None => Err("must be an object of options".to_owned()),
            },
            "format" => self.set_format(value),
            "think" => self.set_think(value),
            "logprobs" | "top_logprobs" => {
                self.pass_on(name, value.clone());
                Ok(())
            }
            // A prompt that does not fit is an error here, and a full context ends the answer.
            "truncate" | "shift" => options::flag(value).map(drop),
            _ => return Ok(None),
        }))
    }

    fn set_format(&mut self, value: &Value) -> Result<(), String> {
        let format = match value {
            value if is_empty(value) => return Ok(()),
            Value::String(text) if text == "json" => json!({"type": "json_object"}),
            Value::Object(_) => {
                json!({"type": "json_schema", "json_schema": {"name": "format", "schema": value, "strict": true}})
            }
            other => return Err(format!("must be \"json\" or a JSON schema, not {other}")),
        };
        self.pass_on("response_format", format);
        Ok(())
    }

    /// Tells the template, by the variables that templates know.
    fn set_think(&mut self, value: &Value) -> Result<(), String> {
        self.thinks = match value {
            Value::Bool(thinks) => *thinks,
            Value::String(effort) if ["low", "medium", "high", "max"].contains(&effort.as_str()) => {
                self.pass_on("reasoning_effort", value.clone());
                true
            }
            other => {
                return Err(format!(
                    "must be true, false, \"low\", \"medium\", \"high\" or \"max\", not {other}"
                ));
            }
        };
        let variables = json!({"enable_thinking": self.thinks, "thinking": self.thinks});
        self.pass_on("chat_template_kwargs", variables);
        Ok(())
    }

    fn ask<S>(&self, source: Option<S>) -> Ask<S> {
        Ask { source, is_stream: self.is_stream, keep_alive: self.keep_alive, thinks: self.thinks }
    }

    fn finish<S>(
        mut self,
        messages: Option<Value>,
        source: impl FnOnce(Call) -> Result<S, FieldError>,
    ) -> Result<Ask<S>, FieldError> {
        let Some(messages) = messages else {
            // Nothing runs that would find it wrong.
            self.options.validate().map_err(|error| FieldError::new("options", error.to_string()))?;
            return Ok(self.ask(None));
        };
        self.pass_on("messages", messages);
        let call = openai::read(Endpoint::ChatCompletions, &self.chat, self.options.clone());
        let call = call.map_err(|error| FieldError { field: own_name(&error.field), ..error })?;
        Ok(self.ask(Some(source(call)?)))
    }

    fn finish_raw(mut self, prompt: String) -> Result<GenerateAsk, FieldError> {
        if let Some(format) = self.chat.remove("response_format") {
            let set = options::set(&mut self.options, "response_format", &format);
            set.unwrap_or(Ok(())).map_err(|message| FieldError::new("format", message))?;
        }
        if self.chat.get("logprobs").is_some_and(|flag| flag == true) {
            let n_top = self.chat.get("top_logprobs").map_or(Ok(0), options::count);
            let n_top = n_top.map_err(|message| FieldError::new("top_logprobs", message))?;
            self.options.logprobs = Some(n_top);
        }
        let request = Request::new(Prompt::Text(prompt), self.options.clone());
        Ok(self.ask(Some(Source::Raw(RawPrompt { request }))))
    }
}

/// What a field of an OpenAI chat is called here.
fn own_name(field: &str) -> String {
    match field {
        "response_format" => "format",
        "chat_template_kwargs" | "reasoning_effort" => "think",
        other => other,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &Value) -> Result<GenerateAsk, FieldError> {
        generate(body.as_object().unwrap(), GenerationOptions::new())
    }

    #[test]
    fn a_prompt_is_a_message_unless_it_is_raw() {
        let ask =
            read(&json!({"model": "demo", "prompt": "Hi", "system": "Be brief.", "stream": false})).unwrap();
        assert!(!ask.is_stream);
        let Some(Source::Message(call)) = ask.source else { panic!("no message") };
        let expected = sm_runtime::ChatRequest::new().system("Be brief.").user("Hi");
        assert_eq!(call.request.prompt, expected.into());
        let ask = read(&json!({"prompt": "Hi", "raw": true, "context": [], "template": ""})).unwrap();
        assert!(matches!(ask.source, Some(Source::Raw(raw)) if raw.request.prompt == "Hi".into()));
        let ask = read(&json!({"prompt": "Hi", "context": [1, 2]})).unwrap();
        assert!(matches!(ask.source, Some(Source::After(context, _)) if context == [TokenId(1), TokenId(2)]));
    }

    #[test]
    fn without_a_prompt_only_the_model_is_meant() {
        let ask = read(&json!({"model": "demo", "keep_alive": 0})).unwrap();
        assert!(ask.source.is_none() && ask.is_stream);
        assert_eq!(ask.keep_alive, Some(KeepAlive::For(std::time::Duration::ZERO)));
        let body = json!({"messages": []});
        assert!(chat(body.as_object().unwrap(), GenerationOptions::new()).unwrap().source.is_none());
    }

    #[test]
    fn what_cannot_be_honoured_is_named() {
        for (body, field) in [
            (json!({"prompt": "Hi", "suffix": "end"}), "suffix"),
            (json!({"prompt": "Hi", "template": "{{ .Prompt }}"}), "template"),
            (json!({"prompt": "Hi", "images": ["aGk="]}), "images"),
            (json!({"prompt": "Hi", "raw": true, "system": "x"}), "raw"),
            (json!({"prompt": "Hi", "format": "yaml"}), "format"),
            (json!({"prompt": "Hi", "think": "a lot"}), "think"),
            (json!({"prompt": "Hi", "options": {"nonsense": 1}}), "options.nonsense"),
            (json!({"prompt": "Hi", "nonsense": 1}), "nonsense"),
            (json!({"prompt": "Hi", "keep_alive": "x"}), "keep_alive"),
            (json!({"prompt": "", "options": {"stop": [""]}}), "options"),
        ] {
            assert_eq!(read(&body).unwrap_err().field, field, "{body}");
        }
    }
}
