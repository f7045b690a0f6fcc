//! Bodies of OpenAI's Responses API: <https://platform.openai.com/docs/api-reference/responses>.
//!
//! Items become the messages of a chat, which has one reader. The answer is a list of items again; whatever follows may refer to it by
//! its id.

mod body;
mod items;
mod object;
mod stream;
mod tools;

pub use body::{ResponseCall, read};
pub use items::with_ids;
pub use object::{ResponseFields, ResponseHead};
pub use stream::{ItemEvent, ItemWriter, Telemetry};
