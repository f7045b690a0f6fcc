//! Settings from a file: `sm serve --config FILE`.
//!
//! The keys of the TOML file are the long names of the options. The command line takes precedence, then the environment, then
//! the file: what a file sets and nothing else does is added to the command line, and checked as if it had been typed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory as _};
use toml::Value;

use crate::Cli;
use crate::failure::Failure;

/// The command that takes a file of settings.
pub(crate) const COMMAND: &str = "serve";

/// The option that names the file.
const FILE: &str = "config";

/// The command line with the settings of the file that it names, if it names one.
///
/// # Errors
/// If the file cannot be read, or holds what is no option.
pub(crate) fn expand(args: Vec<OsString>) -> Result<Vec<OsString>, Failure> {
    let cli = Cli::command().ignore_errors(true);
    // What is wrong with the command line is said when it is parsed for good.
    let Ok(matches) = cli.try_get_matches_from(&args) else { return Ok(args) };
    let Some(given) = matches.subcommand_matches(COMMAND) else { return Ok(args) };
    let Some(path) = given.get_one::<PathBuf>(FILE) else { return Ok(args) };
    let text = std::fs::read_to_string(path).map_err(|source| Failure::File {
        action: "read",
        path: path.clone(),
        source,
    })?;
    let table: toml::Table = text.parse().map_err(|error| wrong(path, &error))?;
    let mut cli = Cli::command();
    // Global options belong to every command once it is built.
    cli.build();
    let Some(command) = cli.find_subcommand(COMMAND) else { return Ok(args) };
    let mut args = args;
    for (key, value) in &table {
        let arg =
            option(command, key).ok_or_else(|| wrong(path, &format_args!("there is no option {key:?}")))?;
        if !is_given(given, arg) {
            add(arg, key, value, &mut args).map_err(|message| wrong(path, &message))?;
        }
    }
    Ok(args)
}

fn wrong(path: &Path, message: &dyn std::fmt::Display) -> Failure {
    Failure::Usage(format!("cannot use the settings of {}: {message}", crate::shown::shown(path)))
}

/// The option of a key, by its name or one of its other names.
fn option<'a>(command: &'a Command, key: &str) -> Option<&'a Arg> {
    let name = key.replace('_', "-");
    let has_name = |arg: &&Arg| {
        let others = arg.get_all_aliases().unwrap_or_default();
        arg.get_long() == Some(&name) || others.contains(&&*name)
    };
    command.get_arguments().filter(|arg| !FIXED.contains(&arg.get_id().as_str())).find(has_name)
}

/// Options that make no sense in the file.
const FIXED: [&str; 4] = [FILE, "help", "version", "help_config"];

/// Whether the command line or the environment sets an option.
fn is_given(given: &ArgMatches, arg: &Arg) -> bool {
    let source = given.value_source(arg.get_id().as_str());
    matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable))
}

/// Adds an option with the value of its key.
fn add(arg: &Arg, key: &str, value: &Value, args: &mut Vec<OsString>) -> Result<(), String> {
    let name = arg.get_long().unwrap_or(key);
    let values = match value {
        Value::Array(values) => &values[..],
        value => std::slice::from_ref(value),
    };
    for (i, value) in values.iter().enumerate() {
        if matches!(arg.get_action(), ArgAction::SetTrue) {
            let Value::Boolean(is_on) = value else { return Err(format!("{key}: must be true or false")) };
            args.extend(is_on.then(|| format!("--{name}").into()));
            continue;
        }
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Integer(_) | Value::Float(_) => value.to_string(),
            _ => return Err(format!("{key}: must be a text or a number, or a list of such")),
        };
        // Models after the first have an option of their own, as on the command line.
        let name = if name == "model" && i > 0 { crate::familiar::MORE_MODELS } else { name };
        args.push(format!("--{name}={value}").into());
    }
    Ok(())
}

/// All options as a table of Markdown: the reference of the file.
pub(crate) fn reference() -> String {
    let mut cli = Cli::command();
    cli.build();
    let mut text = String::from("| key | environment | default | what it does |\n|---|---|---|---|\n");
    let Some(command) = cli.find_subcommand(COMMAND) else { return text };
    for arg in command.get_arguments() {
        let Some(name) = arg.get_long().filter(|_| !FIXED.contains(&arg.get_id().as_str())) else { continue };
        if arg.is_hide_set() {
            continue;
        }
        let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
        let variable = arg.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let is_flag = matches!(arg.get_action(), ArgAction::SetTrue);
        let default = match arg.get_default_values() {
            [] if is_flag => "false".to_owned(),
            values => values.iter().map(|value| value.to_string_lossy()).collect::<Vec<_>>().join(" "),
        };
        // Defaults that depend on the machine differ from one to another.
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default().replace('|', "\\|");
        let row = format!("| `{name}` | {} | {} | {help} |\n", code(&variable), code(&default));
        text.push_str(&row);
    }
    text
}
