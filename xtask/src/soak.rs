//! `cargo xtask soak`: the tests of random schedules run much longer than in `cargo xtask test`.
//!
//! Most schedules run on models that are made up: they are the same scheduler, cache and sampler in a thousandth of the time. Real
//! models add kernels, disk tiers and tokenizers, and get a tenth as many.

use std::process::Command;

use crate::Outcome;
use crate::spawn::{self, cargo};

const TIMES: u32 = 50;

/// How many times as many schedules run on fake models as on real ones.
const FAKE_PER_REAL: u32 = 10;

/// Runs schedules on fake models with and without states, then on real ones; or with `--device gpu` those on the first GPU. The
/// argument multiplies the default number.
pub(crate) fn run(args: &[String]) -> Outcome {
    let (args, is_gpu) = match args {
        [rest @ .., option, device] if option == "--device" && device == "gpu" => (rest, true),
        _ => (args, false),
    };
    let times = match args {
        [] => TIMES,
        [times] => times.parse().map_err(|_| format!("{times:?} is not a number"))?,
        _ => return Err("expected at most one number, and --device gpu".to_owned()),
    };
    let of_real = times.div_ceil(FAKE_PER_REAL);
    if is_gpu {
        let mut command = soak("demo-model,gpu", &["--test", "promises"], "schedules_on_a_gpu", of_real);
        return spawn::run("soak", command.env("GPU_TESTS", "require"));
    }
    for (target, times) in [(&["--lib"][..], times), (&["--test", "promises"], of_real)] {
        let mut command = soak("demo-model", target, "schedules", times);
        spawn::run("soak", command.arg("stateful"))?;
    }
    Ok(())
}

/// The tests of a target whose names have `filter` in them, with so many times more schedules.
fn soak(features: &str, target: &[&str], filter: &str, times: u32) -> Command {
    let mut command = cargo(&["test", "--release", "-p", "sm-runtime", "--features", features]);
    command.args(target).args(["--", filter]).env("SM_SOAK", times.to_string());
    command
}
