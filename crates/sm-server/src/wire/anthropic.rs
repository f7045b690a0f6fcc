//! Bodies of Anthropic's API: <https://platform.claude.com/docs/en/api/messages>.
//!
//! A body becomes that of an OpenAI chat, which has one reader. The answer is a message of blocks; a stream begins, fills and ends
//! them one after the other.

mod answer;
mod blocks;
mod body;
mod stream;
mod tools;

pub use answer::MessageHead;
pub use body::{MessageCall, read};
pub use stream::{StreamEvent, StreamWriter};
