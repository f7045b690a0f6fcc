//! What a generation continues.

mod chat;
mod rendered;

use sm_tensor::TokenId;

pub use chat::ChatRequest;
pub(crate) use chat::Template;
pub(crate) use rendered::RenderedPrompt;

/// What a generation continues.
///
/// All but [`Prompt::Append`] describe the whole context. Where it begins with what a [`Generator`](crate::Generator) or a
/// session has seen before, that part is not computed again.
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
    /// Text. The tokenizer adds its marks, such as a beginning-of-sequence token, and the written form of a special token
    /// stands for that token.
    Text(String),
    /// Messages, rendered by the model's chat template on the thread that submits the request. In a session in append mode,
    /// the messages since the last answer.
    Messages(ChatRequest),
    /// The output of a chat template. It holds its own marks, and the written form of a special token stands for that
    /// token.
    Chat(String),
    /// Token ids, taken as they are.
    Tokens(Vec<TokenId>),
    /// Text that follows the prompts and outputs so far. No marks are added, and special tokens are plain text.
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
