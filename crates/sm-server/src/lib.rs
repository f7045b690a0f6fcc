//! The HTTP server over an engine: it will speak the OpenAI protocol and serve a page to try a model.
//!
//! Nothing is served yet; the crate keeps its place in the order of crates, between the runtime and the
//! command line.
