//! Structured output: constrains tokens so that the text matches a schema, regular expression or grammar.
//!
//! `llguidance` compiles grammars on the caller's thread; each choice walks its own copy. Disallowed tokens are masked
//! before anything else touches the logits, so a grammar does not affect other requests.

#[cfg(not(feature = "grammar"))]
#[path = "grammar/absent.rs"]
mod compiler;
#[cfg(feature = "grammar")]
#[path = "grammar/compiler.rs"]
mod compiler;
#[cfg(feature = "grammar")]
mod schema;

pub(crate) use compiler::{Constraint, Grammars};

/// The required form of the output, which ends where the grammar is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Grammar {
    /// JSON that matches a JSON schema (2020-12 and earlier drafts; unsupported keywords are an error). Between tokens of
    /// the JSON, a space or a line break with indentation is allowed.
    JsonSchema(String),
    /// Any JSON object.
    JsonObject,
    /// Text that a regular expression matches in full (syntax of the crate `regex`, without look-around).
    Regex(String),
    /// A context-free grammar in the Lark syntax of `llguidance`.
    Lark(String),
}
