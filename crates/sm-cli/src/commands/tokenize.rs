//! `sm tokenize`: the tokens of a text.

use sm_runtime::load_tokenizer;
use sm_runtime::model::tokenizer::EncodeOptions;

use crate::args::TokenizerArgs;
use crate::console::Console;
use crate::failure::Failure;
use crate::prompt::PromptArgs;

/// Show the tokens of a text
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sm tokenize -m model.gguf \"Once upon a time\"
  sm tokenize -m ./Qwen3-0.6B --json < prompt.txt
  sm tokenize -m model.gguf --plain \"<s> is two characters and a letter\"")]
pub(crate) struct Args {
    #[command(flatten)]
    text: PromptArgs,
    #[command(flatten)]
    tokenizer: TokenizerArgs,
    /// Add no sequence marks, and take special tokens in the text as plain characters
    #[arg(long)]
    plain: bool,
    /// Print one array of ids
    #[arg(long)]
    json: bool,
}

/// Prints an id and its piece per line.
///
/// # Errors
/// If the tokenizer cannot be read, or has no tokens for a part of the text.
pub(crate) fn run(args: &Args, console: &Console) -> Result<(), Failure> {
    let tokenizer = load_tokenizer(args.tokenizer.model())?;
    let text = args.text.read()?;
    let options = if args.plain { EncodeOptions::PLAIN } else { EncodeOptions::PROMPT };
    let ids = tokenizer.encode(&text, options)?;
    if args.json {
        return console.json(&ids.iter().map(|id| id.0).collect::<Vec<u32>>());
    }
    let lines = ids.iter().map(|id| {
        let piece = String::from_utf8_lossy(tokenizer.vocabulary().token_bytes(*id));
        format!("{:>7}  {piece:?}\n", id.0)
    });
    console.piece(&lines.collect::<String>())
}
