//! Runs the program on its questions.

use std::fs::File;
use std::process::Command;

#[test]
fn the_last_question_gets_its_answer() {
    let questions = File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/questions.txt")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_example-chat")).stdin(questions).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.lines().any(|line| line == "Answer: 3"), "{printed}");
}
