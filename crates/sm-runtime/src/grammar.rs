//! Structured output: constrains tokens so that the text matches a schema, regular expression or grammar.
//!
//! `llguidance` compiles grammars on a thread of their own, within a time, while the caller waits (`workshop`); each choice walks its
//! own copy. Disallowed tokens are masked before anything else touches the logits, so a grammar does not affect other requests.

#[cfg(not(feature = "grammar"))]
#[path = "grammar/absent.rs"]
mod compiler;
#[cfg(feature = "grammar")]
#[path = "grammar/compiler.rs"]
mod compiler;
mod limits;
#[cfg(feature = "grammar")]
mod message;
#[cfg(feature = "grammar")]
mod schema;
#[cfg(feature = "grammar")]
mod size;
#[cfg(feature = "grammar")]
mod workshop;

pub(crate) use compiler::{Constraint, Grammars};
pub use limits::GrammarLimits;

/// The required form of the output, which ends where the grammar is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Grammar {
    /// JSON that matches a JSON schema (2020-12 and earlier drafts; unsupported keywords are an error).
    JsonSchema(String),
    /// Any JSON object.
    JsonObject,
    /// Text that a regular expression matches in full (syntax of the crate `regex`, without look-around).
    Regex(String),
    /// A context-free grammar in the Lark syntax of `llguidance`.
    Lark(String),
}

impl Grammar {
    /// The text that it is compiled from.
    #[cfg_attr(not(feature = "grammar"), expect(dead_code, reason = "nothing is compiled"))]
    fn text(&self) -> &str {
        match self {
            Self::JsonSchema(text) | Self::Regex(text) | Self::Lark(text) => text,
            Self::JsonObject => "",
        }
    }
}

/// White space between the parts of JSON that a [`Grammar`] asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhiteSpace {
    /// None: `{"a":1}`.
    #[default]
    Compact,
    /// As the model likes: nothing, a space, or a line break with indentation.
    Free,
}
