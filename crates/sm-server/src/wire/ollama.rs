//! Bodies of Ollama's API: <https://docs.ollama.com/api>.
//!
//! A body becomes that of an OpenAI chat, which has one reader, and options of the engine. Its own are the names, the durations in
//! nanoseconds, and the lines of JSON that a stream consists of.

mod answer;
mod body;
mod duration;
mod embed;
mod messages;
mod models;
mod options;
mod timestamp;

pub use answer::{AnswerHead, AnswerWriter, Outcome, Shape};
pub use body::{Ask, ChatAsk, GenerateAsk, RawPrompt, Source, chat, generate};
pub use duration::KeepAlive;
pub use embed::{EmbedAsk, EmbedForm};
pub use models::{Details, ModelEntry, capabilities, details, digest, model_info, parameters};
pub use timestamp::timestamp;
