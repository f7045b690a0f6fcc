//! Runs the program on real models, and checks its output, messages and exit codes.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod bad_input;
mod batch;
mod bench;
mod bench_serve;
mod chat;
mod demo;
mod embed;
mod familiar;
mod generate;
#[cfg(feature = "gpu")]
mod gpu;
mod hub;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod hub_tls;
mod kv_disk;
mod model_files;
mod mutations;
mod run;
mod serve;
#[cfg(unix)]
mod serve_settings;
#[path = "../../../sm-hub/tests/hub/stand_in.rs"]
#[allow(dead_code, reason = "not everything goes wrong in these tests")]
mod stand_in;
#[path = "../../../sm-model/src/testing.rs"]
mod testing;
mod tools;
