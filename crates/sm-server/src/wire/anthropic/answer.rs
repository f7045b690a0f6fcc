//! Whole messages.

use serde_json::{Value, json};
use sm_runtime::{Completion, FinishReason, Usage};

use crate::chat::{Answer, ToolCall};

/// What stands for a signature: nobody checks thoughts that come back.
pub(super) const SIGNATURE: &str = "unsigned";

/// What a message begins with.
#[derive(Clone, Debug)]
pub struct MessageHead {
    /// The id, without its prefix.
    pub id: String,
    /// The model's name.
    pub model: String,
    /// Whether blocks of thoughts are sent empty.
    pub omits_thoughts: bool,
}

impl MessageHead {
    /// A message with these blocks, which has not ended.
    pub(super) fn object(&self, content: &[Value], usage: &Value) -> Value {
        json!({
            "id": format!("msg_{}", self.id),
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": null,
            "stop_sequence": null,
            "usage": usage,
        })
    }

    /// The whole answer.
    pub fn message(&self, answer: &Answer, completion: &Completion) -> Value {
        let mut content = Vec::new();
        if !answer.reasoning.is_empty() {
            let thoughts = if self.omits_thoughts { "" } else { answer.reasoning.as_str() };
            content.push(json!({"type": "thinking", "thinking": thoughts, "signature": SIGNATURE}));
        }
        if !answer.content.is_empty() {
            content.push(json!({"type": "text", "text": answer.content}));
        }
        content.extend(answer.calls.iter().filter_map(tool_use));
        let has_calls = !answer.calls.is_empty();
        let mut message = self.object(&content, &usage(&completion.usage));
        message["stop_reason"] = stop_reason(completion.finish_reason, has_calls).into();
        message["stop_sequence"] = completion.stop_sequence.as_deref().into();
        message
    }
}

/// A call. One that was cut has no arguments that could be given, and is left out.
fn tool_use(call: &ToolCall) -> Option<Value> {
    let arguments = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
    let input = serde_json::from_str::<Value>(arguments).ok().filter(Value::is_object)?;
    Some(json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input}))
}

/// Why it ended, in the words of <https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons>.
pub(super) fn stop_reason(reason: FinishReason, has_calls: bool) -> &'static str {
    match reason {
        FinishReason::Length | FinishReason::Timeout => "max_tokens",
        FinishReason::ContextLimit => "model_context_window_exceeded",
        FinishReason::StopSequence => "stop_sequence",
        _ if has_calls => "tool_use",
        _ => "end_turn",
    }
}

/// Tokens. All that the prompt has are those that were computed, and those that were found in the cache.
pub(super) fn usage(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.generated_tokens,
    })
}
