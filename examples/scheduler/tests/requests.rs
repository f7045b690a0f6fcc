//! Runs the program.

use std::process::Command;

#[test]
fn every_request_counts_on_from_its_prompt() {
    let output = Command::new(env!("CARGO_BIN_EXE_example-scheduler")).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.lines().any(|line| line == "request 1: [42, 43, 44, 45, 46]"), "{printed}");
}
