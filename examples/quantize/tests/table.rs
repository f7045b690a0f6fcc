//! Runs the program.

use std::process::Command;

#[test]
fn the_table_has_the_error_of_each_format() {
    let output = Command::new(env!("CARGO_BIN_EXE_example-quantize")).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.lines().any(|line| line == "q8_0             8.5           0.52%"), "{printed}");
}
