//! `sm list`: the models in the cache.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use sm_hub::CachedModel;

use crate::console::{Bytes, Console};
use crate::failure::Failure;
use crate::hub;
use crate::shown::escaped;

/// List the models in the cache, by the names that -m takes
#[derive(Debug, clap::Args)]
#[command(
    alias = "ls",
    after_help = "\
Examples:
  sm list
  sm list --json

The cache is that of Python's huggingface_hub: what hf download fetched is listed, too."
)]
pub(crate) struct Args {
    /// Print one JSON object per model
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    path: String,
    commit: String,
    size_bytes: u64,
    /// Seconds since 1970.
    modified: Option<u64>,
}

/// Prints the list.
///
/// # Errors
/// If the cache cannot be read.
pub(crate) fn run(args: &Args, console: &Console) -> Result<(), Failure> {
    let hub = hub::hub(console)?;
    let contents = hub.contents()?;
    if args.json {
        contents.models.iter().try_for_each(|model| console.json(&Row::of(model)))?;
    } else {
        console.piece(&table(&contents.models, SystemTime::now()))?;
    }
    if contents.models.is_empty() {
        let cache = hub.settings().cache.display();
        console
            .note(format_args!("no models in {cache}; sm pull NAME fetches one, and `demo` is always there"));
    }
    for (repo, bytes) in &contents.incomplete {
        let bytes = Bytes(*bytes);
        console.note(format_args!(
            "{repo} has {bytes} of files that are not complete; sm pull goes on with them"
        ));
    }
    Ok(())
}

fn table(models: &[CachedModel], now: SystemTime) -> String {
    let names: Vec<String> =
        models.iter().map(|model| escaped(&model.name.to_string(), char::is_control)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let row = |(name, model): (&String, &CachedModel)| {
        let age = model.modified.and_then(|time| now.duration_since(time).ok()).map_or(String::new(), age);
        let size = Bytes(model.size_bytes).to_string();
        format!("{name:<width$}  {size:>11}  {age}").trim_end().to_owned() + "\n"
    };
    names.iter().zip(models).map(row).collect()
}

/// How long ago something was, in the largest unit.
fn age(age: Duration) -> String {
    const UNITS: [(u64, &str); 3] = [(86_400, "day"), (3_600, "hour"), (60, "minute")];
    let seconds = age.as_secs();
    match UNITS.iter().find(|(unit, _)| seconds >= *unit) {
        Some((unit, name)) => {
            let n = seconds / unit;
            format!("{n} {name}{} ago", if n == 1 { "" } else { "s" })
        }
        None => "just now".to_owned(),
    }
}

impl Row {
    fn of(model: &CachedModel) -> Self {
        let since_epoch = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).ok();
        Self {
            name: model.name.to_string(),
            path: model.path.display().to_string(),
            commit: model.commit.clone(),
            size_bytes: model.size_bytes,
            modified: model.modified.and_then(since_epoch).map(|time| time.as_secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_in_the_largest_unit() {
        for (seconds, expected) in [
            (0, "just now"),
            (60, "1 minute ago"),
            (7_300, "2 hours ago"),
            (90_000, "1 day ago"),
            (1_000_000, "11 days ago"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), expected);
        }
    }
}
