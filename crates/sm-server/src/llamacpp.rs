//! The endpoints of llama.cpp's server, one file each. Those that it shares with OpenAI's API are the same under shorter paths.

pub(crate) mod completion;
pub(crate) mod embedding;
pub(crate) mod infill;
pub(crate) mod props;
pub(crate) mod slots;
