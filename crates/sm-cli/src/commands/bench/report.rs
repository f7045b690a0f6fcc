//! Output formats of measurements: a Markdown table, CSV, JSON, or one JSON object per line.

use serde::Serialize;

use crate::commands::bench::profile::Report;
use crate::console::{Bytes, Console, to_json};
use crate::failure::Failure;

/// Output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// A Markdown table
    Md,
    /// Comma-separated values with a header
    Csv,
    /// An array of objects
    Json,
    /// One object per line
    Jsonl,
}

/// The result of one test.
#[derive(Debug, Serialize)]
pub(super) struct Measurement {
    /// `pp512`, `tg128`, `tg64@d1024`, ….
    pub(super) test: String,
    pub(super) threads: usize,
    pub(super) sequences: usize,
    /// Mean over the repetitions, all sequences together.
    pub(super) tokens_per_second: f64,
    /// Sample standard deviation over the repetitions; 0 for one.
    pub(super) stddev: f64,
    pub(super) reps: usize,
    pub(super) model: String,
    /// Bytes of the weights in memory.
    pub(super) weight_bytes: usize,
    /// The backend and its kernel set.
    pub(super) kernels: String,
    pub(super) tokens: usize,
    pub(super) depth: usize,
    /// Tokens per second of each repetition.
    pub(super) samples: Vec<f64>,
    /// The profile, with `--profile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) profile: Option<Report>,
}

/// Writes measurements one by one.
#[derive(Debug)]
pub(super) struct Reporter<'a> {
    console: &'a Console,
    format: Format,
    n_written: usize,
    /// Printed after the table: the name of each profiled test, and its profile.
    profiles: Vec<(String, Report)>,
}

impl<'a> Reporter<'a> {
    /// A new reporter.
    pub(super) fn new(console: &'a Console, format: Format) -> Self {
        Self { console, format, n_written: 0, profiles: Vec::new() }
    }

    /// Writes one measurement, after the header if it is the first.
    ///
    /// # Errors
    /// If stdout is closed or fails.
    pub(super) fn write(&mut self, measured: Measurement) -> Result<(), Failure> {
        let first = self.n_written == 0;
        self.n_written += 1;
        match self.format {
            Format::Jsonl => self.console.json(&measured),
            Format::Json => {
                self.console.piece(if first { "[\n" } else { ",\n" })?;
                self.console.piece(&to_json(&measured)?)
            }
            Format::Csv => {
                if first {
                    self.console.piece("model,weight_bytes,kernels,threads,sequences,tokens,depth,test,reps,tokens_per_second,stddev\n")?;
                }
                self.console.line(format_args!("{}", csv_row(&measured)))
            }
            Format::Md => {
                if first {
                    self.console.piece(&md_head())?;
                }
                self.console.line(format_args!("{}", md_row(&measured)))?;
                let test = format!("{} with {} threads", measured.test, measured.threads);
                self.profiles.extend(measured.profile.map(|profile| (test, profile)));
                Ok(())
            }
        }
    }

    /// Writes the end of the output.
    ///
    /// # Errors
    /// If stdout is closed or fails.
    pub(super) fn finish(&self) -> Result<(), Failure> {
        match (self.format, self.n_written) {
            (Format::Json, 0) => self.console.piece("[]\n"),
            (Format::Json, _) => self.console.piece("\n]\n"),
            (Format::Csv | Format::Jsonl, _) => Ok(()),
            (Format::Md, _) => {
                let mut profiles = self.profiles.iter();
                profiles.try_for_each(|(test, profile)| self.console.piece(&format!("\n{test}\n\n{profile}")))
            }
        }
    }
}

/// Columns of the table: title, width, and whether they are right-aligned.
const COLUMNS: [(&str, usize, bool); 6] = [
    ("model", 28, false),
    ("size", 10, true),
    ("kernels", 16, false),
    ("threads", 7, true),
    ("test", 14, true),
    ("t/s", 20, true),
];

fn md_head() -> String {
    let titles = COLUMNS.map(|(title, ..)| title.to_owned());
    let rules =
        COLUMNS.map(|(_, width, right)| if right { "-".repeat(width - 1) + ":" } else { "-".repeat(width) });
    format!("{}\n{}\n", md_line(&titles), md_line(&rules))
}

fn md_row(measured: &Measurement) -> String {
    md_line(&[
        measured.model.clone(),
        Bytes(measured.weight_bytes as u64).to_string(),
        measured.kernels.clone(),
        measured.threads.to_string(),
        measured.test.clone(),
        format!("{:.2} ± {:.2}", measured.tokens_per_second, measured.stddev),
    ])
}

fn md_line(cells: &[String; COLUMNS.len()]) -> String {
    let padded = cells.iter().zip(COLUMNS).map(|(cell, (_, width, right))| {
        if right { format!(" {cell:>width$} |") } else { format!(" {cell:<width$} |") }
    });
    "|".to_owned() + &padded.collect::<String>()
}

fn csv_row(m: &Measurement) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let cells = [
        quoted(&m.model),
        m.weight_bytes.to_string(),
        quoted(&m.kernels),
        m.threads.to_string(),
        m.sequences.to_string(),
        m.tokens.to_string(),
        m.depth.to_string(),
        quoted(&m.test),
        m.reps.to_string(),
        format!("{:.4}", m.tokens_per_second),
        format!("{:.4}", m.stddev),
    ];
    cells.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement() -> Measurement {
        Measurement {
            test: "tg128".to_owned(),
            threads: 2,
            sequences: 1,
            tokens_per_second: 12.25,
            stddev: 0.5,
            reps: 2,
            model: "a \"b\"".to_owned(),
            weight_bytes: 2048,
            kernels: "cpu scalar".to_owned(),
            tokens: 128,
            depth: 0,
            samples: vec![12.0, 12.69],
            profile: None,
        }
    }

    #[test]
    fn table_rows_line_up_with_the_head() {
        let head = md_head();
        let lengths: Vec<usize> = head.lines().map(|line| line.chars().count()).collect();
        assert_eq!(lengths, [md_row(&measurement()).chars().count(); 2]);
        assert!(
            md_row(&measurement()).contains("12.25 ± 0.50") && md_row(&measurement()).contains("2.00 KiB")
        );
    }

    #[test]
    fn csv_quotes_names() {
        assert!(csv_row(&measurement()).starts_with("\"a \"\"b\"\"\",2048,"));
    }
}
