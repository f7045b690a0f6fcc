//! Bodies and answers of llama.cpp's own `/completion`.

mod answer;
mod body;
mod prompt;
mod settings;

pub use answer::{CompletionHead, chunk, completion, prefill, timings};
pub use body::{CompletionCall, read};
pub use settings::settings;
