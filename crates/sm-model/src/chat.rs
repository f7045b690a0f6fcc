//! Chat templates: turn a conversation into the prompt text that the model was trained on.
//!
//! Templates are Jinja programs that come with the model. They run in `minijinja`, configured as transformers configures
//! Jinja (<https://huggingface.co/docs/transformers/chat_templating>). Templates are untrusted code: size, instruction
//! count, recursion and what they produce are all bounded.
//!
//! ```
//! use sm_model::chat::{ChatRequest, ChatTemplate, Message};
//!
//! let source = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}";
//! let template = ChatTemplate::new(source, serde_json::Map::new())?;
//! let messages = [Message::new("system", "Be brief."), Message::new("user", "Hi")];
//! assert_eq!(template.render(&ChatRequest::new(&messages))?, "<system>Be brief.\n<user>Hi\n");
//! # Ok::<(), sm_model::chat::ChatError>(())
//! ```

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::metadata::Metadata;
use crate::tokenizer::{Guard, GuardedText, TokenizerError, Vocabulary};

mod content;
mod message;
mod model_templates;
mod operands;
mod python;
mod renderer;
mod strftime;
mod tags;
#[cfg(test)]
mod tests;

pub use message::{ChatRequest, Message};

use self::content::{Parts, Prepared};
use self::model_templates::ModelTemplates;
use self::renderer::Renderer;

/// Maximum work per render: each instruction counts one, and so do 64 bytes of every value, intermediate ones included, and of
/// the output. What an instruction would make is checked before it is made. Real templates use a few hundred instructions per
/// message, and copy a conversation of a million tokens, 5 MB, some twenty times: 1.6 million.
const FUEL: u64 = 2_000_000;

/// The largest template accepted, in bytes. The largest published ones have about 20 KB.
const MAX_TEMPLATE_BYTES: usize = 1 << 16;

/// Stack for the template engine, which recurses once per operator of a chain: enough for the largest template even if it
/// consists of nothing else. Only the used part becomes resident.
const STACK_BYTES: usize = 64 << 20;

/// A model's compiled chat templates. Clones share them and their render thread.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    environment: Arc<Environment<'static>>,
    sources: Arc<BTreeMap<String, String>>, // by name, as the model has them
    defaults: Map<String, Value>, // `bos_token`, `eos_token`, … as templates call them, and what else requests need not set
    tells_date: bool,
    takes_functions: Arc<[String]>, // the templates that want tools as text, `functions`
    renderer: Arc<Renderer>,
}

/// Why a conversation could not be rendered into a prompt.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ChatError {
    /// The model has no template.
    #[error(
        "{model} has no chat template; put one next to it as chat_template.jinja, or use a plain prompt instead of a chat"
    )]
    NoTemplate {
        /// The model's directory or file.
        model: String,
    },
    /// The template is not valid Jinja.
    #[error("chat template {template:?} is malformed at line {line}: {reason}")]
    Syntax {
        /// Name of the template: `default`, `tool_use`, …
        template: String,
        /// Line of the template, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// The template failed on this conversation.
    #[error("chat template {template:?} failed at line {line}: {reason}")]
    Render {
        /// Name of the template.
        template: String,
        /// Line of the template, from 1.
        line: usize,
        /// What went wrong.
        reason: String,
    },
    /// The template raised an exception: the model cannot continue this conversation.
    #[error("the model's chat template rejects this conversation: {message}")]
    Refused {
        /// The template's message.
        message: String,
    },
    /// The template exceeded the limit on its work: instructions, and bytes of values and output.
    #[error(
        "chat template {template:?} was stopped at line {line}: it needs more than {limit} units of work, each an instruction or \
         64 bytes of values and output"
    )]
    TooMuchWork {
        /// Name of the template.
        template: String,
        /// Line of the template, from 1.
        line: usize,
        /// The limit.
        limit: u64,
    },
    /// The template is too large.
    #[error("chat template {template:?} has {n_bytes} bytes, but at most {limit} are accepted")]
    TooLarge {
        /// Name of the template.
        template: String,
        /// Its size.
        n_bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The thread that runs the template cannot be started.
    #[error("cannot start a thread with {} MiB of stack for the chat template: {source}", STACK_BYTES >> 20)]
    NoThread {
        /// The system's error.
        source: std::io::Error,
    },
    /// A message is malformed.
    #[error("message {idx} is not a JSON object with a string \"role\"")]
    BadMessage {
        /// Its index in the conversation, from 0.
        idx: usize,
    },
    /// The content of a message cannot be read.
    #[error("the content of message {idx} ({role}) cannot be read: {reason}")]
    Content {
        /// The message's index in the conversation, from 0.
        idx: usize,
        /// Its role.
        role: String,
        /// What is wrong, and what to give instead.
        reason: String,
    },
    /// A file of the model cannot be read.
    #[error(transparent)]
    File(#[from] TokenizerError),
}

impl ChatTemplate {
    /// Loads the templates of a model directory: `chat_template.jinja`, `chat_template.json`, or the `chat_template` of
    /// `tokenizer_config.json`, in this order.
    ///
    /// # Errors
    /// [`ChatError::NoTemplate`] if there is none; otherwise if it cannot be read or compiled.
    pub fn load(dir: &Path) -> Result<Self, ChatError> {
        Self::compile(ModelTemplates::from_dir(dir)?, &dir.display().to_string())
    }

    /// Compiles the templates in the metadata of a GGUF file with the given `vocabulary`.
    ///
    /// # Errors
    /// As [`ChatTemplate::load`].
    pub fn from_metadata(metadata: &Metadata, vocabulary: &Vocabulary) -> Result<Self, ChatError> {
        Self::compile(ModelTemplates::from_metadata(metadata, vocabulary)?, "the GGUF file")
    }

    /// Compiles a template; `special_texts` are its variables `bos_token`, `eos_token` and so on.
    ///
    /// # Errors
    /// [`ChatError::Syntax`] or [`ChatError::TooLarge`].
    pub fn new(template: &str, special_texts: Map<String, Value>) -> Result<Self, ChatError> {
        let templates = vec![("default".to_owned(), template.to_owned())];
        Self::compile(ModelTemplates { templates, special_texts }, "the model")
    }

    fn compile(source: ModelTemplates, model: &str) -> Result<Self, ChatError> {
        if source.templates.is_empty() {
            return Err(ChatError::NoTemplate { model: model.to_owned() });
        }
        let sources: BTreeMap<String, String> = source.templates.iter().cloned().collect();
        let mut environment = Environment::new();
        environment.set_syntax(syntax());
        environment.set_fuel(Some(FUEL));
        environment.set_debug(false); // errors would print all variables, conversation included
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        python::install(&mut environment);
        let takes_functions = on_large_stack(|| {
            add_templates(&mut environment, source.templates)?;
            Ok(python::templates_of_functions(&environment))
        })?;
        Ok(Self {
            environment: Arc::new(environment),
            sources: Arc::new(sources),
            defaults: source.special_texts,
            tells_date: false,
            takes_functions,
            renderer: Arc::default(),
        })
    }

    /// Gives the template variables, such as `enable_thinking`. Those of a request take precedence.
    #[must_use]
    pub fn with_variables(mut self, variables: Map<String, Value>) -> Self {
        self.defaults.extend(variables);
        self
    }

    /// Tells the template the date of the request, as `date_string` and `datetime`, as llama.cpp does. Without it, templates such
    /// as those of Llama 3 name the day of their release, as in transformers. The prefix cache then misses once a day.
    #[must_use]
    pub fn with_date(self) -> Self {
        Self { tells_date: true, ..self }
    }

    /// Renders the prompt for a conversation. Encode it with [`crate::tokenizer::EncodeOptions::RENDERED_CHAT`].
    ///
    /// The written forms of special tokens in messages look like those of the template; [`ChatTemplate::render_guarded`] tells
    /// them apart.
    ///
    /// Renders on the template's own thread and blocks until that is done: some hundred microseconds for a usual
    /// conversation. Renders of one template, from whatever threads, take turns.
    ///
    /// # Errors
    /// [`ChatError::Refused`] where the template raises an exception, [`ChatError::Render`] where it fails,
    /// [`ChatError::TooMuchWork`], and [`ChatError::Content`].
    pub fn render(&self, request: &ChatRequest<'_>) -> Result<String, ChatError> {
        self.render_prepared(request, None).map(|rendered| rendered.text)
    }

    /// As [`ChatTemplate::render`], for [`crate::tokenizer::Tokenizer::encode_guarded`]: control tokens that the template wrote are
    /// special, and the same characters in messages, tools and documents are plain text, unless they are in a text part that
    /// says `"parse_special": true`.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn render_guarded(&self, request: &ChatRequest<'_>, guard: &Guard) -> Result<GuardedText, ChatError> {
        self.render_prepared(request, Some(guard))
    }

    fn render_prepared(
        &self,
        request: &ChatRequest<'_>,
        guard: Option<&Guard>,
    ) -> Result<GuardedText, ChatError> {
        let name = self.name_for(!request.tools.is_empty());
        let parts = if content::has_parts(request.messages) { self.parts(name)? } else { Parts::Taken };
        let mut prepared = Prepared::new(request, parts, guard)?;
        let mut rendered = self.run_prepared(name, request, &prepared)?;
        // A message that only calls tools has no content. Templates that want a text there fail.
        if rendered.is_err() && prepared.blank_nulls() {
            rendered = self.run_prepared(name, request, &prepared)?;
        }
        let text = rendered.map_err(|error| self.render_error(name, &error))?;
        Ok(match prepared.sealer {
            Some(sealer) => sealer.open(&text),
            None => text.into(),
        })
    }

    fn run_prepared(
        &self,
        name: &str,
        request: &ChatRequest<'_>,
        prepared: &Prepared<'_>,
    ) -> Result<Result<String, minijinja::Error>, ChatError> {
        let Prepared { messages, documents, tools, .. } = prepared;
        let variables = request.variables.clone();
        self.run(name, &ChatRequest { messages, tools, documents, variables, ..*request })
    }

    /// What a template does with a list of parts.
    fn parts(&self, name: &str) -> Result<Parts, ChatError> {
        let (message, judge) = content::trial();
        let rendered = self.run(name, &ChatRequest::new(&[message]))?;
        Ok(rendered.map_or(Parts::Unknown, |text| judge(&text)))
    }

    fn run(
        &self,
        name: &str,
        request: &ChatRequest<'_>,
    ) -> Result<Result<String, minijinja::Error>, ChatError> {
        let date = if self.tells_date { python::date(request.now_unix_seconds) } else { Map::new() };
        let functions = if self.takes_functions.iter().any(|taking| taking == name) {
            python::functions(request.tools)
        } else {
            Map::new()
        };
        let context = python::context(request, &[&date, &functions, &self.defaults]);
        let environment = Arc::clone(&self.environment);
        let owned_name = name.to_owned();
        let render = move || environment.get_template(&owned_name)?.render(context);
        self.renderer.run(render)
    }

    /// The source of the template for conversations with or without tools, as the model has it.
    pub fn source(&self, with_tools: bool) -> String {
        self.sources.get(self.name_for(with_tools)).cloned().unwrap_or_default()
    }

    /// The tool template if there are tools and it exists; otherwise the default, or the only one.
    fn name_for(&self, with_tools: bool) -> &str {
        let has = |wanted: &str| self.environment.templates().any(|(name, _)| name == wanted);
        if with_tools && has("tool_use") {
            return "tool_use";
        }
        if has("default") {
            return "default";
        }
        self.environment.templates().next().map_or("default", |(name, _)| name)
    }

    fn render_error(&self, name: &str, error: &minijinja::Error) -> ChatError {
        if let Some(message) = python::raised(error) {
            return ChatError::Refused { message };
        }
        let template = name.to_owned();
        let line = error.line().unwrap_or(0);
        match error.kind() {
            ErrorKind::OutOfFuel => {
                let limit = self.environment.fuel().unwrap_or(FUEL);
                ChatError::TooMuchWork { template, line, limit }
            }
            _ => ChatError::Render { template, line, reason: reason(error) },
        }
    }
}

fn add_templates(
    environment: &mut Environment<'static>,
    templates: Vec<(String, String)>,
) -> Result<(), ChatError> {
    for (name, text) in templates {
        if text.len() > MAX_TEMPLATE_BYTES {
            return Err(ChatError::TooLarge {
                template: name,
                n_bytes: text.len(),
                limit: MAX_TEMPLATE_BYTES,
            });
        }
        let text = tags::prepare(&text).map_err(|error| ChatError::Syntax {
            template: name.clone(),
            line: error.line,
            reason: error.reason(),
        })?;
        environment.add_template_owned(name.clone(), text).map_err(|error| ChatError::Syntax {
            template: name,
            line: error.line().unwrap_or(0),
            reason: reason(&error),
        })?;
    }
    Ok(())
}

/// Runs the compiler on a temporary thread with [`STACK_BYTES`], once per template.
fn on_large_stack<T: Send>(run: impl FnOnce() -> Result<T, ChatError> + Send) -> Result<T, ChatError> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("chat template".to_owned()).stack_size(STACK_BYTES);
        let handle = builder.spawn_scoped(scope, run).map_err(|source| ChatError::NoThread { source })?;
        handle.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

fn reason(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

/// As in transformers: tags swallow the line break after them and the indentation before them.
fn syntax() -> SyntaxConfig {
    // Fails only for clashing delimiters; the defaults do not clash.
    SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().unwrap_or_default()
}
