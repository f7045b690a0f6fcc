//! Structured output: which tokens may follow, so that the text is what a schema, an expression or a grammar describes.
//!
//! Grammars are compiled by `llguidance` on the caller's thread, and each choice walks through its own. Tokens that cannot
//! go on are masked before anything else is done to the logits; so a grammar has no bearing on other requests.

#[cfg(not(feature = "grammar"))]
#[path = "grammar/absent.rs"]
mod compiler;
#[cfg(feature = "grammar")]
#[path = "grammar/compiler.rs"]
mod compiler;

pub(crate) use compiler::{Constraint, Grammars};

/// What the text has to be. Its end is the end of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Grammar {
    /// JSON that fits a JSON schema (2020-12 and earlier drafts; what cannot be enforced is an error). Between its parts may stand
    /// a space, or a line end and an indentation.
    JsonSchema(String),
    /// Any JSON object.
    JsonObject,
    /// A text that a regular expression matches as a whole (the syntax of the crate `regex`, without look-around).
    Regex(String),
    /// A context-free grammar in the Lark syntax of `llguidance`.
    Lark(String),
}
