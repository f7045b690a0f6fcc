//! What a text has to be.

use std::path::PathBuf;

use sm_runtime::Grammar;

use crate::failure::Failure;
use crate::prompt::utf8;

/// What a text has to be.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Form")]
#[group(multiple = false)]
pub(crate) struct GrammarArgs {
    /// The text is JSON that fits the JSON schema in FILE
    #[arg(long, value_name = "FILE")]
    json_schema: Option<PathBuf>,
    /// The text is a JSON object
    #[arg(long)]
    json_object: bool,
    /// The text is one that the regular expression R matches as a whole
    #[arg(long, value_name = "R")]
    regex: Option<String>,
    /// The text follows the grammar in FILE, written in the Lark syntax of llguidance
    #[arg(long, value_name = "FILE")]
    grammar: Option<PathBuf>,
}

impl GrammarArgs {
    /// The grammar, if one was asked for.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub(crate) fn read(&self) -> Result<Option<Grammar>, Failure> {
        Ok(if let Some(path) = &self.json_schema {
            Some(Grammar::JsonSchema(read(path)?))
        } else if let Some(path) = &self.grammar {
            Some(Grammar::Lark(read(path)?))
        } else if self.json_object {
            Some(Grammar::JsonObject)
        } else {
            self.regex.clone().map(Grammar::Regex)
        })
    }
}

fn read(path: &PathBuf) -> Result<String, Failure> {
    let bytes =
        std::fs::read(path).map_err(|source| Failure::File { action: "read", path: path.clone(), source })?;
    utf8(bytes, || path.display().to_string())
}
