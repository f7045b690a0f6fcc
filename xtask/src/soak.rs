//! `cargo xtask soak`: the tests of random schedules run much longer than in `cargo xtask test`.
//!
//! Most schedules run on models that are made up: they are the same scheduler, cache and sampler in a thousandth of the time. Real
//! models add kernels, disk tiers and tokenizers, and get a tenth as many.

use crate::Outcome;
use crate::spawn::{self, cargo};

const TIMES: u32 = 50;

/// How many times as many schedules run on fake models as on real ones.
const FAKE_PER_REAL: u32 = 10;

/// Runs schedules on fake models with and without states, then on real ones. The argument multiplies the default number.
pub(crate) fn run(args: &[String]) -> Outcome {
    let times = match args {
        [] => TIMES,
        [times] => times.parse().map_err(|_| format!("{times:?} is not a number"))?,
        _ => return Err("expected at most one number".to_owned()),
    };
    let of_real = times.div_ceil(FAKE_PER_REAL);
    for (target, times) in [(&["--lib"][..], times), (&["--test", "promises"], of_real)] {
        let mut command = cargo(&["test", "--release", "-p", "sm-runtime", "--features", "demo-model"]);
        command.args(target).args(["--", "schedules", "stateful"]).env("SM_SOAK", times.to_string());
        spawn::run("soak", &mut command)?;
    }
    Ok(())
}
