//! What a caller's thread makes of a prompt for the engine's thread.

use sm_tensor::TokenId;

use crate::Error;
use crate::input::Input;
use crate::text::TextStart;

/// A tokenized prompt.
pub(crate) enum PromptTokens {
    /// Without a session: checked when it was submitted.
    Alone(Input),
    /// Which tokens apply is known once the session is looked up.
    InSession {
        /// Tokens without preceding context.
        first: Vec<TokenId>,
        start: TextStart,
        /// Tokens after a session's context, if they differ.
        appended: Option<Result<Vec<TokenId>, Error>>,
    },
}
