//! Options for structured output.

use std::path::{Path, PathBuf};

use sm_runtime::{Completion, FinishReason, Grammar, WhiteSpace};

use crate::failure::Failure;
use crate::prompt::{read_file, read_stdin};

/// Structured output.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Structured output")]
pub(crate) struct GrammarArgs {
    /// Generate JSON that matches the JSON schema in FILE (`-` is stdin), or the schema itself
    #[arg(long, short_alias = 'j', alias = "json-schema-file", value_name = "FILE", group = "form")]
    json_schema: Option<String>,
    /// Generate a JSON object
    #[arg(long, group = "form")]
    json_object: bool,
    /// Generate text that matches the regular expression R from start to end
    #[arg(long, value_name = "R", group = "form")]
    regex: Option<String>,
    /// Generate text that matches the grammar in FILE, in GBNF (with a rule `root ::=`) or the Lark syntax of llguidance
    #[arg(long, alias = "grammar-file", value_name = "FILE", group = "form")]
    grammar: Option<PathBuf>,
    /// Let the model put white space between the parts of JSON; without it, JSON is compact
    #[arg(long)]
    json_whitespace: bool,
}

impl GrammarArgs {
    /// The grammar, if one was given.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub(crate) fn read(&self) -> Result<Option<Grammar>, Failure> {
        Ok(if let Some(schema) = &self.json_schema {
            Some(Grammar::JsonSchema(schema_text(schema)?))
        } else if let Some(path) = &self.grammar {
            Some(Grammar::of_text(read_file(path)?))
        } else if self.json_object {
            Some(Grammar::JsonObject)
        } else {
            self.regex.clone().map(Grammar::Regex)
        })
    }

    /// Where white space is allowed in JSON.
    pub(crate) fn white_space(&self) -> WhiteSpace {
        if self.json_whitespace { WhiteSpace::Free } else { WhiteSpace::Compact }
    }
}

/// A schema that was given as it is, on stdin, or in a file. No schema but an object begins with a brace.
fn schema_text(given: &str) -> Result<String, Failure> {
    if given.trim_start().starts_with('{') {
        Ok(given.to_owned())
    } else if given == "-" {
        read_stdin()
    } else {
        read_file(Path::new(given))
    }
}

/// Whether a limit ended the output.
pub(crate) fn is_cut(completion: &Completion) -> bool {
    matches!(
        completion.finish_reason,
        FinishReason::Length | FinishReason::ContextLimit | FinishReason::Timeout
    )
}
