//! The endpoints of OpenAI's API, one file each.

pub(crate) mod chat;
pub(crate) mod completions;
pub(crate) mod create;
pub(crate) mod embeddings;
pub(crate) mod invocations;
pub(crate) mod models;
pub(crate) mod predict;
