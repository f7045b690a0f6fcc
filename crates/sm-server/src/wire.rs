//! What clients send and get, without anything of HTTP: `sm batch` reads and writes the same.

pub mod anthropic;
pub mod documents;
pub mod fields;
pub mod llamacpp;
pub mod ollama;
pub mod openai;
pub mod options;
pub mod responses;
pub mod text;

use std::fmt;

/// Why a body cannot be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The field, empty if there is none to blame.
    pub field: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl FieldError {
    /// A field is wrong.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, message } = self;
        if field.is_empty() { f.write_str(message) } else { write!(f, "{field}: {message}") }
    }
}
