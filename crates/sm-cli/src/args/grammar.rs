//! Options for structured output.

use std::path::{Path, PathBuf};

use sm_runtime::Grammar;

use crate::failure::Failure;
use crate::prompt::read_file;

/// Structured output.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Structured output")]
#[group(multiple = false)]
pub(crate) struct GrammarArgs {
    /// Generate JSON that matches the JSON schema in FILE, or the schema itself
    #[arg(long, short_alias = 'j', alias = "json-schema-file", value_name = "FILE")]
    json_schema: Option<String>,
    /// Generate a JSON object
    #[arg(long)]
    json_object: bool,
    /// Generate text that matches the regular expression R from start to end
    #[arg(long, value_name = "R")]
    regex: Option<String>,
    /// Generate text that matches the grammar in FILE, in the Lark syntax of llguidance
    #[arg(long, value_name = "FILE")]
    grammar: Option<PathBuf>,
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
            Some(Grammar::Lark(read_file(path)?))
        } else if self.json_object {
            Some(Grammar::JsonObject)
        } else {
            self.regex.clone().map(Grammar::Regex)
        })
    }
}

/// A schema that was given as it is, or that of a file. No schema but an object begins with a brace.
fn schema_text(given: &str) -> Result<String, Failure> {
    if given.trim_start().starts_with('{') { Ok(given.to_owned()) } else { read_file(Path::new(given)) }
}
