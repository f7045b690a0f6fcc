//! `cargo xtask soak`: the tests of random schedules, on models with and without states, run much longer than in
//! `cargo xtask test`.

use crate::Outcome;
use crate::spawn::{self, cargo};

const TIMES: u32 = 50;

/// Runs schedules on the fake model, then on real ones. The argument multiplies the default number.
pub(crate) fn run(args: &[String]) -> Outcome {
    let times = match args {
        [] => TIMES,
        [times] => times.parse().map_err(|_| format!("{times:?} is not a number"))?,
        _ => return Err("expected at most one number".to_owned()),
    };
    for target in [&["--lib"][..], &["--test", "promises"]] {
        let mut command = cargo(&["test", "--release", "-p", "sm-runtime", "--features", "demo-model"]);
        command.args(target).args(["--", "schedules", "stateful"]).env("SM_SOAK", times.to_string());
        spawn::run("soak", &mut command)?;
    }
    Ok(())
}
