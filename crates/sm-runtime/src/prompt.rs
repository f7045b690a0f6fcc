//! Prompts.

mod chat;
mod rendered;

use sm_tensor::TokenId;

pub use chat::ChatRequest;
pub(crate) use chat::Template;
pub(crate) use rendered::RenderedPrompt;

/// The input of a generation.
///
/// All variants but [`Prompt::Append`] describe the whole context. A prefix that a [`Generator`](crate::Generator) or
/// session has already computed is not computed again.
///
/// ```
/// use sm_runtime::{ChatRequest, Prompt};
///
/// let story: Prompt = "Once upon a time".into();
/// assert_eq!(story, Prompt::Text("Once upon a time".to_owned()));
/// let question: Prompt = ChatRequest::new().user("What is 17 + 25?").into();
/// assert!(matches!(question, Prompt::Messages(_)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Prompt {
    /// Text. The tokenizer adds its markers, such as a beginning-of-sequence token, and special tokens written in the text
    /// are recognized.
    Text(String),
    /// Messages, rendered by the model's chat template on the thread that submits the request. In a session in append mode,
    /// the messages since the last answer.
    Messages(ChatRequest),
    /// The output of a chat template. It contains its own markers, and special tokens written in the text are recognized.
    Chat(String),
    /// Token ids, used as is.
    Tokens(Vec<TokenId>),
    /// Text appended to the prompts and outputs so far. No markers are added, and special tokens are treated as plain text.
    Append(String),
}

impl From<&str> for Prompt {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Prompt {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<ChatRequest> for Prompt {
    fn from(request: ChatRequest) -> Self {
        Self::Messages(request)
    }
}
