//! Answers of chat models, in a form that all chat APIs share: thoughts, text, and calls of tools.
//!
//! Models mark their thoughts and calls in the text, each family in its own way. An [`AnswerFormat`] knows the way of a model, a
//! [`Splitter`] takes the text in any pieces and gives [`Piece`]s, and an [`Answer`] is all of them together. The pieces are the
//! same however the text was divided, but for where one ends and the next of its kind begins.
//!
//! ```
//! use sm_server::chat::{AnswerFormat, AnswerStart, ToolForm};
//! use serde_json::json;
//!
//! let tools = [json!({"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}})];
//! let format = AnswerFormat::new(ToolForm::Hermes, &tools);
//! let text = "<think>Look it up.</think><tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Graz\"}}\n</tool_call>";
//! let answer = format.answer(text, AnswerStart::default(), 1);
//! assert_eq!((answer.reasoning.as_str(), answer.content.as_str()), ("Look it up.", ""));
//! assert_eq!((answer.calls[0].name.as_str(), answer.calls[0].arguments.as_str()), ("weather", r#"{"city": "Graz"}"#));
//! ```

mod adapted;
mod answer;
mod calls;
mod choice;
mod form;
mod grammar;
mod harmony;
mod ids;
mod reading;
pub mod reasoning;
pub(crate) mod regex;
mod splitter;
#[cfg(test)]
mod tests;
mod tools;

pub use adapted::adapted;
pub use answer::{Answer, AnswerFormat, ToolCall};
pub use choice::{ToolChoice, ToolUse};
pub use form::ToolForm;
pub use reasoning::{AnswerStart, ReasoningFormat};
pub use splitter::{Piece, Splitter};
