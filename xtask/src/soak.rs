//! `cargo xtask soak`: the tests of random schedules, much longer than in the tests.

use crate::Outcome;
use crate::spawn::{self, cargo};

const TIMES: u32 = 50;

/// Runs schedules on the fake model, then on real ones; the first argument says how many times as many as the tests do.
pub(crate) fn run(args: &[String]) -> Outcome {
    let times = match args {
        [] => TIMES,
        [times] => times.parse().map_err(|_| format!("{times:?} is no number of times"))?,
        _ => return Err("one number at most".to_owned()),
    };
    for target in [&["--lib"][..], &["--test", "promises"]] {
        let mut command = cargo(&["test", "--release", "-p", "sm-runtime", "--features", "demo-model"]);
        command.args(target).arg("schedules").env("SM_SOAK", times.to_string());
        spawn::run("soak", &mut command)?;
    }
    Ok(())
}
