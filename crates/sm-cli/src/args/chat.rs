//! How messages become a prompt.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use sm_runtime::ChatRequest;
use sm_runtime::model::chat;
use sm_runtime::model::chat::{ChatTemplate, Message};

use super::template;
use crate::failure::Failure;
use crate::prompt::read_file;

/// How messages become a prompt.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Chat")]
pub(crate) struct ChatArgs {
    /// System message
    #[arg(long, alias = "system-prompt", value_name = "S")]
    pub(crate) system: Option<String>,
    /// Let the model think before it answers, if its template can switch that; --no-think keeps it from it
    #[arg(long, conflicts_with = "no_think")]
    think: bool,
    #[arg(long, hide = true)]
    no_think: bool,
    /// Offer the model the functions in FILE, a JSON array of tools
    #[arg(long, value_name = "FILE")]
    tools: Option<PathBuf>,
    /// Use the chat template in FILE, or the one called NAME, instead of the model's own
    #[arg(long, alias = "chat-template-file", value_name = "FILE|NAME")]
    chat_template: Option<String>,
    /// Set variables of the chat template with a JSON object
    #[arg(long, value_name = "JSON")]
    chat_template_kwargs: Option<String>,
}

/// What a template gets beside the messages.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChatSetup {
    tools: Vec<Value>,
    variables: Map<String, Value>,
}

/// The variables that switch thinking: of Qwen, SmolLM and others, and of Granite and DeepSeek.
const THINKING: [&str; 2] = ["enable_thinking", "thinking"];

impl ChatArgs {
    /// The first of the options that was given, for commands that may have no use for them.
    pub(crate) fn given(&self) -> Option<&'static str> {
        [
            ("--system", self.system.is_some()),
            ("--think", self.think),
            ("--no-think", self.no_think),
            ("--tools", self.tools.is_some()),
            ("--chat-template", self.chat_template.is_some()),
            ("--chat-template-kwargs", self.chat_template_kwargs.is_some()),
        ]
        .into_iter()
        .find_map(|(name, is_given)| is_given.then_some(name))
    }

    /// The template that replaces the model's own.
    ///
    /// # Errors
    /// If it is neither a file nor a name.
    pub(crate) fn template(&self) -> Result<Option<String>, Failure> {
        self.chat_template.as_deref().map(template::source).transpose()
    }

    /// Tools and variables.
    ///
    /// # Errors
    /// If a file cannot be read, or something is not the JSON that it should be.
    pub(crate) fn setup(&self) -> Result<ChatSetup, Failure> {
        let mut variables = Map::new();
        if self.think || self.no_think {
            variables.extend(thinking(self.think));
        }
        if let Some(text) = &self.chat_template_kwargs {
            variables.extend(template_variables(text)?);
        }
        let tools = self.tools.as_deref().map_or(Ok(Vec::new()), read_tools)?;
        Ok(ChatSetup { tools, variables })
    }
}

/// The variables of `--chat-template-kwargs`.
///
/// # Errors
/// If they are no JSON object.
pub(super) fn template_variables(given: &str) -> Result<Map<String, Value>, Failure> {
    serde_json::from_str(given).map_err(|_| {
        let message = "must be a JSON object, as in {\"enable_thinking\": false}".to_owned();
        Failure::Option { flag: "--chat-template-kwargs", message }
    })
}

/// The variables that switch thinking.
pub(super) fn thinking(think: bool) -> [(String, Value); 2] {
    THINKING.map(|name| (name.to_owned(), think.into()))
}

fn read_tools(path: &Path) -> Result<Vec<Value>, Failure> {
    match serde_json::from_str(&read_file(path)?) {
        Ok(Value::Array(tools)) if tools.iter().all(Value::is_object) => Ok(tools),
        _ => {
            let example = r#"[{"type": "function", "function": {"name": "…", "parameters": {…}}}]"#;
            let message = format!("the file must have a JSON array of tools, as in {example}");
            Err(Failure::Option { flag: "--tools", message })
        }
    }
}

impl ChatSetup {
    /// Switches thinking on or off.
    pub(crate) fn set_thinking(&mut self, think: bool) {
        self.variables.extend(thinking(think));
    }

    /// A request for an answer to messages.
    pub(crate) fn request(&self, messages: impl IntoIterator<Item = Message>) -> ChatRequest {
        let request = ChatRequest::new().messages(messages).tools(self.tools.iter().cloned());
        self.variables.iter().fold(request, |request, (name, value)| request.variable(name, value.clone()))
    }

    /// The prompt for an answer to messages; `None` if the template cannot make one, which the request itself will tell.
    pub(crate) fn rendered(&self, template: &ChatTemplate, messages: &[Message]) -> Option<String> {
        let request = chat::ChatRequest {
            tools: &self.tools,
            variables: self.variables.clone(),
            ..chat::ChatRequest::new(messages)
        };
        template.render(&request).ok()
    }
}
