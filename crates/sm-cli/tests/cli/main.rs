//! Runs the program on real models, and checks its output, messages and exit codes.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod bad_input;
mod batch;
mod bench;
mod bench_serve;
mod chat;
mod demo;
mod familiar;
mod generate;
mod kv_disk;
mod model_files;
mod mutations;
mod run;
mod serve;
#[cfg(unix)]
mod serve_settings;
#[path = "../../../sm-model/src/testing.rs"]
mod testing;
mod tools;
