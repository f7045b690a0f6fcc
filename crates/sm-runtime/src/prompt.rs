//! What a generation continues.

use sm_tensor::TokenId;

/// What a generation continues.
///
/// The first three describe the whole context: where it begins with what the [`Generator`](crate::Generator) saw
/// before, that part is not computed again. The last appends to what it saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// Text. The tokenizer's beginning-of-sequence token goes first; special tokens in it are plain text.
    Text(String),
    /// A rendered chat template: special tokens in it count, and nothing is added where it brings them itself.
    Chat(String),
    /// Token ids, taken as they are.
    Tokens(Vec<TokenId>),
    /// Text that follows the prompts and outputs so far, without a beginning-of-sequence token.
    Append(String),
}
