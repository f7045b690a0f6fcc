//! Chat templates: a conversation becomes the prompt text that the model was trained on.
//!
//! Templates are Jinja programs that come with the model. They run in `minijinja`, set up as the Python package
//! `transformers` sets up Jinja, with a bound on the work they may do.
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

use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::metadata::Metadata;
use crate::tokenizer::{TokenizerError, Vocabulary};

mod message;
mod python;
mod renderer;
mod source;
mod strftime;
mod tags;
#[cfg(test)]
mod tests;

pub use message::{ChatRequest, Message};

use self::renderer::Renderer;
use self::source::Source;

/// Instructions that one render may execute. Real templates use some hundred per message.
const FUEL: u64 = 2_000_000;

/// Largest template, in bytes; the largest published ones have some 20 KB.
const MAX_TEMPLATE_BYTES: usize = 1 << 16;

/// Stack for the engine, which recurses once per operator of a chain: enough for the largest template that
/// consists of nothing else. Memory is used only where the stack grows that far.
const STACK_BYTES: usize = 64 << 20;

/// The chat templates of a model, compiled. Clones share them, and the thread that they render on.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    environment: Arc<Environment<'static>>,
    special_texts: Map<String, Value>, // `bos_token`, `eos_token`, … as templates call them
    renderer: Arc<Renderer>,
}

/// Why there is no prompt for a conversation.
#[derive(Debug, Error)]
pub enum ChatError {
    /// The model brings no template.
    #[error(
        "{model} has no chat template; put its template beside it as chat_template.jinja, or give a plain prompt instead of a chat"
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
    /// The template says that the conversation is not one that the model can continue.
    #[error("the model's chat template refuses this conversation: {message}")]
    Refused {
        /// The template's own words.
        message: String,
    },
    /// The template ran for too long.
    #[error("chat template {template:?} was stopped at line {line} after {limit} instructions")]
    TooMuchWork {
        /// Name of the template.
        template: String,
        /// Line of the template, from 1.
        line: usize,
        /// The bound on instructions.
        limit: u64,
    },
    /// The template is too large to be one.
    #[error("chat template {template:?} has {n_bytes} bytes, more than {limit}")]
    TooLarge {
        /// Name of the template.
        template: String,
        /// Its size.
        n_bytes: usize,
        /// The bound.
        limit: usize,
    },
    /// The system gave no thread to run the template on.
    #[error("cannot start a thread with {} MiB of stack for the chat template: {source}", STACK_BYTES >> 20)]
    NoThread {
        /// The system's reason.
        source: std::io::Error,
    },
    /// A message that is not one.
    #[error("message {idx} is not a JSON object with a text \"role\"")]
    BadMessage {
        /// Its place in the conversation, from 0.
        idx: usize,
    },
    /// A file of the model could not be read.
    #[error(transparent)]
    File(#[from] TokenizerError),
}

impl ChatTemplate {
    /// Loads the templates of a model directory: `chat_template.jinja`, `chat_template.json`, or the `chat_template` of
    /// `tokenizer_config.json`, in this order.
    ///
    /// # Errors
    /// [`ChatError::NoTemplate`] if there is none, otherwise what is wrong with it.
    pub fn load(dir: &Path) -> Result<Self, ChatError> {
        Self::compile(Source::from_dir(dir)?, &dir.display().to_string())
    }

    /// Takes the templates from the metadata of a GGUF file; `vocabulary` is that of the same file.
    ///
    /// # Errors
    /// As [`ChatTemplate::load`].
    pub fn from_metadata(metadata: &Metadata, vocabulary: &Vocabulary) -> Result<Self, ChatError> {
        Self::compile(Source::from_metadata(metadata, vocabulary)?, "the GGUF file")
    }

    /// Compiles the text of a template; `special_texts` are its variables `bos_token`, `eos_token` and the like.
    ///
    /// # Errors
    /// [`ChatError::Syntax`] or [`ChatError::TooLarge`].
    pub fn new(template: &str, special_texts: Map<String, Value>) -> Result<Self, ChatError> {
        let templates = vec![("default".to_owned(), template.to_owned())];
        Self::compile(Source { templates, special_texts }, "the model")
    }

    fn compile(source: Source, model: &str) -> Result<Self, ChatError> {
        if source.templates.is_empty() {
            return Err(ChatError::NoTemplate { model: model.to_owned() });
        }
        let mut environment = Environment::new();
        environment.set_syntax(syntax());
        environment.set_fuel(Some(FUEL));
        environment.set_debug(false); // it would print all variables into every error
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        python::install(&mut environment);
        on_large_stack(|| add_templates(&mut environment, source.templates))?;
        Ok(Self {
            environment: Arc::new(environment),
            special_texts: source.special_texts,
            renderer: Arc::default(),
        })
    }

    /// The prompt for a conversation. Encode it with [`crate::tokenizer::EncodeOptions::RENDERED_CHAT`].
    ///
    /// Renders on the template's own thread and blocks until that is done: some hundred microseconds for a usual
    /// conversation. Renders of one template, from whatever threads, take turns.
    ///
    /// # Errors
    /// [`ChatError::Refused`] where the template raises an exception, [`ChatError::Render`] where it fails, and
    /// [`ChatError::TooMuchWork`].
    pub fn render(&self, request: &ChatRequest<'_>) -> Result<String, ChatError> {
        let name = self.template_for(request);
        let context = python::context(request, &self.special_texts);
        let (environment, owned_name) = (Arc::clone(&self.environment), name.to_owned());
        let render = move || environment.get_template(&owned_name)?.render(context);
        self.renderer.run(render)?.map_err(|error| self.render_error(name, &error))
    }

    /// With tools, the template made for them if there is one; else the default, or the only one.
    fn template_for(&self, request: &ChatRequest<'_>) -> &str {
        let has = |wanted: &str| self.environment.templates().any(|(name, _)| name == wanted);
        if !request.tools.is_empty() && has("tool_use") {
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
        let (template, line) = (name.to_owned(), error.line().unwrap_or(0));
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
            let (n_bytes, limit) = (text.len(), MAX_TEMPLATE_BYTES);
            return Err(ChatError::TooLarge { template: name, n_bytes, limit });
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

/// Runs the compiler on a thread with [`STACK_BYTES`]: once per template, so the thread need not stay.
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

/// Tags swallow the line break after them and the indentation before them.
fn syntax() -> SyntaxConfig {
    // Building fails for clashing delimiters only, and the default ones do not clash.
    SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().unwrap_or_default()
}
