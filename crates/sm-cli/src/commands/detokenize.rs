//! `sm detokenize`: the text of tokens.

use sm_runtime::TokenId;
use sm_runtime::model::tokenizer::SpecialTokens;

use crate::args::VocabularyArgs;
use crate::console::Console;
use crate::failure::Failure;
use crate::prompt::read_stdin;

/// Show the text of tokens
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sm detokenize -m model.gguf 1 403 407 261
  sm tokenize -m model.gguf --json \"Once\" | sm detokenize -m model.gguf")]
pub(crate) struct Args {
    /// Token ids, with or without brackets and commas; stdin if omitted
    #[arg(value_name = "IDS")]
    ids: Vec<String>,
    #[command(flatten)]
    vocabulary: VocabularyArgs,
    /// Print special tokens
    #[arg(long)]
    special: bool,
}

/// Prints the text.
///
/// # Errors
/// If the tokenizer cannot be read, or an id is out of range.
pub(crate) fn run(args: &Args, console: &Console) -> Result<(), Failure> {
    let ids = if args.ids.is_empty() { read_stdin()? } else { args.ids.join(" ") };
    let ids = parse(&ids)?;
    let tokenizer = args.vocabulary.loader(console)?.tokenizer()?;
    let vocab_size = tokenizer.vocabulary().vocab_size();
    if let Some(id) = ids.iter().find(|id| id.0 as usize >= vocab_size) {
        return Err(Failure::NoSuchToken { id: id.0, last: vocab_size.saturating_sub(1) });
    }
    let specials = if args.special { SpecialTokens::Keep } else { SpecialTokens::Skip };
    console.piece(&tokenizer.decode(&ids, specials))?;
    if console.is_terminal() { console.piece("\n") } else { Ok(()) }
}

/// Parses ids separated by white space, commas and brackets.
fn parse(text: &str) -> Result<Vec<TokenId>, Failure> {
    let words = text
        .split(|c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']'))
        .filter(|word| !word.is_empty());
    let id = |word: &str| match word.parse() {
        Ok(id) => Ok(TokenId(id)),
        Err(_) => Err(Failure::Usage(format!(
            "{word:?} is not a token id; ids are whole numbers, as printed by sm tokenize"
        ))),
    };
    words.map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_with_or_without_brackets() {
        for text in ["1 2 30", "[1, 2, 30]\n", "1,2,\n30"] {
            assert_eq!(parse(text).unwrap(), [TokenId(1), TokenId(2), TokenId(30)]);
        }
        for text in ["1 x", "-1", "4294967296"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
