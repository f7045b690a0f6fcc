//! The crate's promises: documented behaviour, and agreement with a slow reference under random use.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic like the tests themselves")]

mod acceptance;
mod disk;
mod findable;
mod limits;
mod reference;
mod simulation;
mod states;
mod world;
