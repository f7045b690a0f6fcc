//! What a server in production promises, over HTTP, from the demo model: limits, keys, metrics, administration, load.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod admin;
mod keys;
mod limits;
mod load;
mod metrics;
mod running;
#[path = "../support/running.rs"]
mod server;
