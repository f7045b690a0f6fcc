//! `sm run MODEL [PROMPT]`: a chat, or the answer to one question, in Ollama's words.

use std::path::PathBuf;

use super::chat;
use crate::console::Console;
use crate::failure::Failure;

/// Chat with MODEL, or answer PROMPT and leave
#[derive(Debug, clap::Args)]
#[command(hide = true, mut_arg("model", |arg| arg.hide(true)))]
#[group(id = "run")]
pub(crate) struct Args {
    /// Hugging Face directory, GGUF, safetensors or .smnd file, or `demo`
    #[arg(value_name = "MODEL", conflicts_with = "model")]
    of: PathBuf,
    /// The question; its words need no quotes
    #[arg(value_name = "PROMPT")]
    question: Vec<String>,
    #[command(flatten)]
    chat: chat::Args,
}

/// Chats or answers.
///
/// # Errors
/// As [`chat::run`].
pub(crate) fn run(args: &mut Args, console: &Console) -> Result<(), Failure> {
    args.chat.engine.load.model.model.clone_from(&args.of);
    let question = (!args.question.is_empty()).then(|| args.question.join(" "));
    chat::run_with(&args.chat, question.as_deref(), console)
}
