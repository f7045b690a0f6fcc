//! The command `sm`.
fn main() {}
