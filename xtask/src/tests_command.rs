//! `cargo xtask test`: runs all tests, and lists those skipped for lack of data.

mod skips;

use std::path::{Path, PathBuf};

use crate::spawn::{self, cargo, root};
use crate::{Outcome, cases, examples};
use skips::Skips;

/// Features that are tested though a plain build leaves them out.
pub(crate) const FEATURES: &str = "sm-cli/gpu,sm-cli/kv-events,sm-cli/otel";

/// Runs the tests; `args` go to `cargo test`.
pub(crate) fn run(args: &[String]) -> Outcome {
    let data = data_folder();
    let skips = Skips::begin(&data)?;
    skips.announce();
    let mut command = cargo(&["test", "--workspace", "--locked", "--features", FEATURES]);
    command.args(args).env(skips::VARIABLE, skips.path());
    command.env("SM_CACHE_DIR", spawn::target().join("cache"));
    let whole_run = args.is_empty();
    let result =
        spawn::run("test", &mut command).and_then(|()| if whole_run { whole(&data) } else { Ok(()) });
    let as_expected = skips.end(whole_run);
    skips.announce();
    result.and(as_expected)
}

/// Runs what `cargo test` leaves out.
fn whole(data: &Path) -> Outcome {
    examples::run()?;
    if cases::folder(data).is_dir() { cases::run(data) } else { Ok(()) }
}

/// The test data folder: `SM_TEST_DATA`, or else a folder next to the repository.
pub(crate) fn data_folder() -> PathBuf {
    std::env::var_os("SM_TEST_DATA").map_or_else(|| root().join("../shared/data"), PathBuf::from)
}
