//! Bodies and answers of llama.cpp's own `/completion`.

mod answer;
mod body;
mod infill;
mod prompt;
mod settings;
mod timings;

pub use answer::{CompletionHead, chunk, completion, whole};
pub use body::{CompletionCall, read};
pub use infill::{InfillCall, InfillPrompt};
pub use settings::settings;
pub use timings::{RunningTimings, prompt_progress, timings};
