//! `sm tokenize`: the tokens of a text.

use sm_runtime::TokenId;
use sm_runtime::model::tokenizer::EncodeOptions;

use crate::args::VocabularyArgs;
use crate::console::Console;
use crate::failure::Failure;
use crate::prompt::PromptArgs;

/// Show the tokens of a text
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sm tokenize -m model.gguf \"Once upon a time\"
  sm tokenize -m ./Qwen3-0.6B --json < prompt.txt
  sm tokenize -m model.gguf --plain \"<s> is not a special token here\"")]
pub(crate) struct Args {
    #[command(flatten)]
    text: PromptArgs,
    #[command(flatten)]
    vocabulary: VocabularyArgs,
    /// Add no sequence marks, and treat special tokens in the text as plain text
    #[arg(long)]
    plain: bool,
    /// Print a JSON array of ids
    #[arg(long)]
    json: bool,
}

/// Prints one token per line, its id and its text.
///
/// # Errors
/// If the tokenizer cannot be read, or has no token for a part of the text.
pub(crate) fn run(args: &Args, console: &Console) -> Result<(), Failure> {
    let tokenizer = args.vocabulary.loader(console)?.tokenizer()?;
    let text = args.text.read(console)?;
    let options = if args.plain { EncodeOptions::PLAIN } else { EncodeOptions::PROMPT };
    let ids = tokenizer.encode(&text, options)?;
    if args.json {
        return console.json(&ids.iter().map(|id| id.0).collect::<Vec<u32>>());
    }
    let line = |id: &TokenId| {
        let piece = String::from_utf8_lossy(tokenizer.vocabulary().token_bytes(*id));
        format!("{:>7}  {piece:?}\n", id.0)
    };
    // A few at a time: all lines together take many times the memory of the text.
    ids.chunks(4096).try_for_each(|ids| console.piece(&ids.iter().map(line).collect::<String>()))
}
