//! Whole messages.

use std::fmt;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::{Map, Value, json};
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
        content.extend(answer.calls.iter().map(tool_use));
        let has_calls = !answer.calls.is_empty();
        let mut message = self.object(&content, &usage(&completion.usage));
        message["stop_reason"] = stop_reason(completion.finish_reason, has_calls).into();
        message["stop_sequence"] = completion.stop_sequence.as_deref().into();
        message
    }
}

/// A call. One that was cut has the arguments that are whole: clients see by `max_tokens` that there may be others.
fn tool_use(call: &ToolCall) -> Value {
    json!({"type": "tool_use", "id": call.id, "name": call.name, "input": whole_members(&call.arguments)})
}

/// The members of an object that are whole, where its text may end anywhere.
fn whole_members(json: &str) -> Map<String, Value> {
    let mut members = Map::new();
    let whole = serde_json::Deserializer::from_str(json).deserialize_map(Members(&mut members));
    // Of all values, a number alone does not show whether it has ended.
    let ends_with_digits = json.ends_with(|end: char| end.is_ascii_digit());
    if whole.is_err()
        && ends_with_digits
        && let Some((name, _)) = members.iter().next_back().filter(|(_, last)| last.is_number())
    {
        let name = name.clone();
        members.remove(&name);
    }
    members
}

/// Collects members until one is not whole.
struct Members<'a>(&'a mut Map<String, Value>);

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        while let Some((name, value)) = object.next_entry()? {
            self.0.insert(name, value);
        }
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_was_cut_has_the_arguments_that_are_whole() {
        for (text, members) in [
            ("", json!({})),
            ("{}", json!({})),
            (r#"{"city": "Gr"#, json!({})),
            (r#"{"city": "Graz", "days": 1"#, json!({"city": "Graz"})),
            (r#"{"city": "Graz", "days": 12, "#, json!({"city": "Graz", "days": 12})),
            (r#"{"city": "Graz", "days": {"from": 1"#, json!({"city": "Graz"})),
            (r#"{"city": "Graz", "days": true"#, json!({"city": "Graz", "days": true})),
            (r#"{"city": "Graz", "days": 12}"#, json!({"city": "Graz", "days": 12})),
        ] {
            assert_eq!(Value::Object(whole_members(text)), members, "{text}");
        }
    }
}
