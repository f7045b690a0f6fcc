//! How the text of an answer is read.

use super::ToolForm;
use super::reasoning::ReasoningFormat;
use super::tools::Tools;

/// All that the parts of an answer depend on, beside its text and where it starts.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    /// The form of calls.
    pub(super) form: ToolForm,
    /// What may be called; without tools, nothing is taken for a call.
    pub(super) tools: Tools,
    /// Whether every answer is a call, so that what was cut before it could be told is no text.
    pub(super) must_call: bool,
    /// Where thoughts go.
    pub(super) reasoning: ReasoningFormat,
}
