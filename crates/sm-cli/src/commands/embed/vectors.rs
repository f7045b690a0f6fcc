//! How vectors are printed.

use std::num::NonZeroUsize;

use serde::Serialize;
use sm_runtime::Embedding;

use crate::args::number;
use crate::console::Console;
use crate::failure::Failure;

/// The form of the vectors.
#[derive(Debug, clap::Args)]
pub(super) struct VectorArgs {
    /// Keep the first N values of each vector, which is useful only of models trained for it
    #[arg(long, value_name = "N", value_parser = number::at_least_one, allow_negative_numbers = true)]
    dimensions: Option<NonZeroUsize>,
    /// Print the values as the model gives them, instead of vectors of length 1
    #[arg(long)]
    no_normalize: bool,
    /// Output format
    #[arg(
        short,
        long,
        alias = "embd-output-format",
        value_name = "FORMAT",
        value_enum,
        default_value = "jsonl"
    )]
    output: Format,
}

/// An output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One JSON object per line
    Jsonl,
    /// One line of numbers per text, with blanks between them
    #[value(alias = "raw")]
    Text,
    /// Nothing but the values, each four bytes, little endian
    F32,
}

/// What a line of JSON has.
#[derive(Debug, Serialize)]
struct Line<'a> {
    index: usize,
    tokens: usize,
    embedding: &'a [f32],
}

impl VectorArgs {
    /// Refuses bytes that would go to a terminal.
    ///
    /// # Errors
    /// If they would.
    pub(super) fn check_terminal(&self, console: &Console) -> Result<(), Failure> {
        if self.output == Format::F32 && console.is_terminal() {
            let message = "-o f32 writes bytes, and stdout is a terminal; redirect it to a file";
            return Err(Failure::Usage(message.to_owned()));
        }
        Ok(())
    }

    /// Prints the vector of a text.
    ///
    /// # Errors
    /// If more dimensions are wanted than the model has, or stdout is closed or fails.
    pub(super) fn print(
        &self,
        index: usize,
        embedding: &Embedding,
        console: &Console,
    ) -> Result<(), Failure> {
        let has = embedding.values.len();
        let n_values = self.dimensions.map_or(has, NonZeroUsize::get);
        if n_values > has {
            let message = format!("{n_values} is more than the model's {has}; lower it, or leave it out");
            return Err(Failure::Option { flag: "--dimensions", message });
        }
        let values = match self.no_normalize {
            true => embedding.values[..n_values].to_vec(),
            false => embedding.normalized(Some(n_values)),
        };
        match self.output {
            Format::Jsonl => console.json(&Line { index, tokens: embedding.n_tokens, embedding: &values }),
            Format::Text => {
                let numbers: Vec<String> = values.iter().map(f32::to_string).collect();
                console.line(format_args!("{}", numbers.join(" ")))
            }
            Format::F32 => {
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                console.bytes(&bytes)
            }
        }
    }
}
