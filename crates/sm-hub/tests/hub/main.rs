//! A hub on this machine, with all that can go wrong, and what is in the cache afterwards.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod failures;
mod layout;
mod pulls;
mod scratch;
mod stand_in;
