//! Bodies of OpenAI's chat and text completions.
//!
//! Fields are of three classes. What changes an answer takes effect or is an error. What does not, such as `user`, is skipped. A
//! limit beyond what the context leaves is lowered: agents ask for 32,000 tokens of whatever they find.

mod answer;
mod body;
mod chunks;
mod embeddings;
mod logprobs;

pub use answer::{AnswerShape, ChatReading, Extras, ModelList, ModelObject, ResponseHead, completion};
pub use body::{Call, read};
pub use chunks::ChunkWriter;
pub use embeddings::EmbeddingsCall;
pub(super) use logprobs::{Scored, logprobs};

use sm_runtime::FinishReason;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/v1/chat/completions`
    ChatCompletions,
    /// `/v1/completions`
    Completions,
}

impl Endpoint {
    /// The endpoints by their paths.
    pub const PATHS: [(&str, Self); 2] =
        [("/v1/chat/completions", Self::ChatCompletions), ("/v1/completions", Self::Completions)];

    /// What ids begin with.
    pub fn id_prefix(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chatcmpl",
            Self::Completions => "cmpl",
        }
    }
}

/// The word for why an answer with calls ended: for the calls, unless something cut it.
fn finish_reason_of_calls(reason: &'static str) -> &'static str {
    if reason == "stop" { "tool_calls" } else { reason }
}

/// The word for why an answer ended.
fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Length | FinishReason::ContextLimit | FinishReason::Timeout => "length",
        _ => "stop",
    }
}

/// The warning about tools that are left out since their makers run them.
pub(super) fn skipped_tools(types: &[String]) -> Option<String> {
    let types: String = types.join(", ").chars().take(200).collect();
    (!types.is_empty())
        .then(|| format!("tools of these types were left out, since this server does not run them: {types}"))
}
