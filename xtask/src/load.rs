//! `cargo xtask load`: the server's tests of load, run longer and with limits of time, on a machine with nothing else to do.

use crate::Outcome;
use crate::spawn::{self, cargo};

/// Runs them one after another.
pub(crate) fn run(args: &[String]) -> Outcome {
    if !args.is_empty() {
        return Err("takes no arguments".to_owned());
    }
    let mut command = cargo(&["test", "--release", "-p", "sm-server", "--test", "production", "--"]);
    command.args(["load::", "--test-threads", "1", "--nocapture"]).env("SM_LOAD", "1");
    spawn::run("load", &mut command)
}
