//! The models that come with SmallMind, as the bytes of GGUF files.
//!
//! They are a crate of their own so that only a program that includes them downloads them. `sm-runtime` does so under its
//! feature `demo-model`.
//!
//! ```
//! assert!(sm_demo_model::DEMO.starts_with(b"GGUF"));
//! assert!(sm_demo_model::DRAFT.len() < sm_demo_model::DEMO.len());
//! ```
//!
#![doc = include_str!("../README.md")]

/// The demo model: it tells short stories and answers simple questions.
pub static DEMO: &[u8] = include_bytes!("../demo.gguf");

/// A much smaller model with the same vocabulary, which drafts for it.
pub static DRAFT: &[u8] = include_bytes!("../draft.gguf");
