//! What a generation continues.

use sm_tensor::TokenId;

/// What a generation continues.
///
/// The first three describe the whole context: where it begins with what the [`Generator`](crate::Generator) saw
/// before, that part is not computed again. The last appends to what it saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// Text. The tokenizer puts its marks around it, such as a beginning-of-sequence token; the written form of a
    /// special token is that token.
    Text(String),
    /// A rendered chat template: it brings its marks itself, and the written form of a special token is that token.
    Chat(String),
    /// Token ids, taken as they are.
    Tokens(Vec<TokenId>),
    /// Text that follows the prompts and outputs so far: no marks are added, special tokens are plain text.
    Append(String),
}
