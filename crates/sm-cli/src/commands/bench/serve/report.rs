//! The report: a table as vLLM prints it, and a file with the fields that it saves.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::client::Outcome;
use super::figures::{Figures, Summary};
use super::load::Run;
use super::options::{Args, Latency};
use crate::console::{Console, to_json};
use crate::failure::Failure;

/// Kinds of errors that are shown.
const N_ERRORS: usize = 5;

/// A finished run.
#[derive(Debug)]
pub(super) struct Report<'a> {
    pub(super) args: &'a Args,
    pub(super) model: &'a str,
    /// Seconds since 1970.
    pub(super) started: u64,
    pub(super) run: &'a Run,
    pub(super) figures: &'a Figures,
}

impl Report<'_> {
    /// Prints the table.
    ///
    /// # Errors
    /// If stdout fails.
    pub(super) fn print(&self, console: &Console) -> Result<(), Failure> {
        let mut text = format!("{:=^50}\n", " Serving Benchmark Result ");
        let Figures { completed, failed, n_input, n_output, .. } = self.figures;
        row(&mut text, "Successful requests:", completed);
        row(&mut text, "Failed requests:", failed);
        if let Some(most) = self.args.load.max_concurrency {
            row(&mut text, "Maximum request concurrency:", most);
        }
        if self.args.load.request_rate.is_finite() {
            row(&mut text, "Request rate configured (RPS):", two(self.args.load.request_rate));
        }
        row(&mut text, "Benchmark duration (s):", two(self.run.duration.as_secs_f64()));
        row(&mut text, "Total input tokens:", n_input);
        row(&mut text, "Total generated tokens:", n_output);
        row(&mut text, "Request throughput (req/s):", two(self.figures.request_throughput));
        if let Some(goodput) = self.figures.goodput {
            row(&mut text, "Request goodput (req/s):", two(goodput));
        }
        row(&mut text, "Output token throughput (tok/s):", two(self.figures.output_throughput));
        row(&mut text, "Peak concurrent requests:", self.figures.peak_concurrency);
        row(&mut text, "Total token throughput (tok/s):", two(self.figures.total_throughput));
        for latency in &self.args.output.percentile_metrics {
            self.figures.latency(*latency).into_iter().for_each(|summary| table(&mut text, summary));
        }
        writeln!(text, "{}", "=".repeat(50)).expect("writing to a string cannot fail");
        console.piece(&text)?;
        self.errors(console);
        Ok(())
    }

    /// Says why requests failed.
    fn errors(&self, console: &Console) {
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for error in self.run.outcomes.iter().filter_map(|outcome| outcome.error.as_deref()) {
            *kinds.entry(error).or_default() += 1;
        }
        let mut kinds: Vec<_> = kinds.into_iter().collect();
        kinds.sort_by_key(|(_, n)| usize::MAX - n);
        for (error, n) in kinds.iter().take(N_ERRORS) {
            console.message(format_args!("{n} failed: {error}"));
        }
        if kinds.len() > N_ERRORS {
            console.message(format_args!(
                "and {} other errors; --save-detailed has all",
                kinds.len() - N_ERRORS
            ));
        }
    }

    /// Writes the result as JSON.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn save(&self, path: &Path) -> Result<(), Failure> {
        let text = to_json(&self.fields())?;
        std::fs::write(path, text + "\n").map_err(Failure::file("write", path))
    }

    fn fields(&self) -> Value {
        let Self { args, model, started, run, figures } = self;
        let rate = args.load.request_rate;
        let mut fields = json!({
            "date": started,
            "backend": args.backend.name(),
            "model_id": model,
            "num_prompts": run.outcomes.len(),
            "request_rate": if rate.is_finite() { json!(rate) } else { json!("inf") },
            "burstiness": args.load.burstiness,
            "max_concurrency": args.load.max_concurrency,
            "duration": run.duration.as_secs_f64(),
            "completed": figures.completed,
            "failed": figures.failed,
            "total_input_tokens": figures.n_input,
            "total_output_tokens": figures.n_output,
            "request_throughput": figures.request_throughput,
            "request_goodput": figures.goodput,
            "output_throughput": figures.output_throughput,
            "total_token_throughput": figures.total_throughput,
            "max_concurrent_requests": figures.peak_concurrency,
        });
        if let Value::Object(fields) = &mut fields {
            fields.extend(args.output.metadata.iter().map(|pair| (pair.name.clone(), json!(pair.value))));
            figures.latencies.iter().for_each(|summary| summary_fields(fields, summary));
            if args.output.save_detailed {
                detailed(fields, &run.outcomes);
            }
        }
        fields
    }
}

fn two(value: f64) -> String {
    format!("{value:.2}")
}

fn row(text: &mut String, name: &str, value: impl Display) {
    writeln!(text, "{name:<40} {:<10}", value.to_string()).expect("writing to a string cannot fail");
}

fn title(latency: Latency) -> &'static str {
    match latency {
        Latency::Ttft => "Time to First Token",
        Latency::Tpot => "Time per Output Token (excl. 1st token)",
        Latency::Itl => "Inter-token Latency",
        Latency::E2el => "End-to-end Latency",
    }
}

fn table(text: &mut String, summary: &Summary) {
    let name = summary.latency.name().to_uppercase();
    writeln!(text, "{:-^50}", title(summary.latency)).expect("writing to a string cannot fail");
    row(text, &format!("Mean {name} (ms):"), two(summary.mean));
    row(text, &format!("Median {name} (ms):"), two(summary.median));
    for (percent, value) in &summary.percentiles {
        row(text, &format!("P{percent} {name} (ms):"), two(*value));
    }
}

fn summary_fields(fields: &mut Map<String, Value>, summary: &Summary) {
    let name = summary.latency.name();
    fields.insert(format!("mean_{name}_ms"), json!(summary.mean));
    fields.insert(format!("median_{name}_ms"), json!(summary.median));
    fields.insert(format!("std_{name}_ms"), json!(summary.std));
    for (percent, value) in &summary.percentiles {
        fields.insert(format!("p{percent}_{name}_ms"), json!(value));
    }
}

/// The lists of vLLM's detailed results: one item per request, in seconds.
fn detailed(fields: &mut Map<String, Value>, outcomes: &[Outcome]) {
    let list = |of: &dyn Fn(&Outcome) -> Value| Value::Array(outcomes.iter().map(of).collect());
    let seconds = Duration::as_secs_f64;
    fields.insert("start_times".to_owned(), list(&|outcome| json!(seconds(&outcome.sent))));
    fields.insert("input_lens".to_owned(), list(&|outcome| json!(outcome.n_input)));
    fields.insert("output_lens".to_owned(), list(&|outcome| json!(outcome.n_output)));
    fields.insert("ttfts".to_owned(), list(&|outcome| json!(seconds(&outcome.first))));
    fields.insert("itls".to_owned(), list(&|outcome| outcome.gaps.iter().map(seconds).collect()));
    fields.insert("generated_texts".to_owned(), list(&|outcome| json!(outcome.text)));
    fields.insert("errors".to_owned(), list(&|outcome| json!(outcome.error)));
}
