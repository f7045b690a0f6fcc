//! Models of the hub by name: from the cache, or fetched.

use std::io::{self, IsTerminal as _};
use std::path::Path;

use sm_hub::{CachedModel, Hub, HubError, HubRef, HubSettings};
use sm_runtime::ModelRef;

use crate::console::{Bytes, Console};
use crate::failure::Failure;
use crate::progress::{Progress, Unit};

/// What `-hf NAME` becomes: a name that is no path, and that may be fetched without asking.
pub(crate) const EXPLICIT: &str = "hf://";

/// What the names of files end with that nobody means a repository by.
const FILES: [&str; 4] = [".gguf", ".safetensors", ".smnd", ".json"];

/// The model that `given` names: a path, a model of this program, or a model of the hub, which is fetched if the user wants it.
///
/// # Errors
/// If a model of the hub is not in the cache and may not or cannot be fetched.
pub(crate) fn model(given: &Path, console: &Console) -> Result<ModelRef, Failure> {
    let (name, is_explicit) = match reference(given) {
        Some(reference) => reference?,
        None => return Ok(ModelRef::named(given)),
    };
    let hub = hub(console)?;
    let missing = match hub.find(&name) {
        Ok(model) => return Ok(ModelRef::Path(model.path)),
        Err(error) => error,
    };
    if hub.settings().offline {
        return Err(missing.into());
    }
    let HubSettings { cache, endpoint, .. } = hub.settings();
    let question =
        || format!("{name} is neither a path nor in {}; fetch it from {endpoint}?", cache.display());
    if !is_explicit && !ask(&question(), console)? {
        return Err(Failure::NotFetched { name: name.to_string(), cache: cache.clone() });
    }
    Ok(ModelRef::Path(pull(&hub, &name, console)?.path))
}

/// How a model is called by those who ask a server for it: by its name on the hub, or the last component of its path.
pub(crate) fn called(given: &Path) -> String {
    match reference(given) {
        Some(Ok((name, _))) => name.to_string(),
        _ => given.file_name().unwrap_or(given.as_os_str()).to_string_lossy().into_owned(),
    }
}

/// The name of a model of the hub, and whether it cannot be anything else; nothing if it is a path.
fn reference(given: &Path) -> Option<Result<(HubRef, bool), Failure>> {
    let text = given.to_str()?;
    if text.starts_with(EXPLICIT) {
        return Some(text.parse().map(|name| (name, true)).map_err(Failure::Hub));
    }
    let is_file = !text.contains(':') && FILES.iter().any(|end| text.ends_with(end));
    let name = text.parse().ok().filter(|_| !is_file && !given.exists())?;
    Some(Ok((name, false)))
}

/// The hub of the environment.
///
/// # Errors
/// If the environment has settings that make no sense.
pub(crate) fn hub(console: &Console) -> Result<Hub, Failure> {
    settings(console).map(Hub::new)
}

/// The settings of the environment.
///
/// # Errors
/// As [`hub`].
pub(crate) fn settings(console: &Console) -> Result<HubSettings, Failure> {
    let mut settings = HubSettings::from_env()?;
    settings.offline |= console.is_offline();
    Ok(settings)
}

/// Fetches what is missing of a model, with a progress bar. Ctrl-C ends the process, and the next run goes on from there.
///
/// # Errors
/// If it cannot be fetched.
pub(crate) fn pull(hub: &Hub, name: &HubRef, console: &Console) -> Result<CachedModel, Failure> {
    let plan = hub.plan(name)?;
    if plan.missing_bytes > 0 {
        let files = plan.files().count();
        console.note(format_args!(
            "fetching {name} from {}: {} in {files} files, {} of it missing",
            hub.settings().endpoint,
            Bytes(plan.total_bytes),
            Bytes(plan.missing_bytes)
        ));
    }
    let bar = Progress::new(console, "fetching", Unit::Bytes);
    Ok(hub.pull(&plan, &mut |progress| {
        bar.set_message(progress.file.rsplit('/').next().unwrap_or_default().to_owned());
        bar.set(progress.done_bytes, progress.total_bytes);
    })?)
}

/// Asks on the terminal. Without one, the answer is no.
fn ask(question: &str, console: &Console) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(false);
    }
    console.message(format_args!("{question} [y/N]"));
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(|source| Failure::Stream { action: "read stdin", source })?;
    Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
}

/// Parses a name on the command line.
///
/// # Errors
/// If it is no name of a model of the hub.
pub(crate) fn parse(text: &str) -> Result<HubRef, HubError> {
    text.parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_hub_are_told_from_paths() {
        for (given, expected) in [
            ("org/name", Some(("org/name", false))),
            ("org/name:Q4_0", Some(("org/name:Q4_0", false))),
            ("hf://org/name", Some(("org/name", true))),
            ("hf.co/org/name", Some(("org/name", false))),
            ("./org/name", None),
            ("models/x.gguf", None),
            ("src/main.rs", None),
            ("demo", None),
            ("/a/b", None),
            ("a/b/c", None),
        ] {
            let found = reference(Path::new(given)).map(|found| found.unwrap());
            let expected = expected.map(|(name, is_explicit)| (name.parse::<HubRef>().unwrap(), is_explicit));
            assert_eq!(found, expected, "{given}");
        }
        assert!(reference(Path::new("hf://x")).is_some_and(|found| found.is_err()));
        assert_eq!(
            [called(Path::new("hf://a/b:Q8_0")), called(Path::new("x/m.gguf"))],
            ["a/b:Q8_0", "m.gguf"]
        );
    }
}
