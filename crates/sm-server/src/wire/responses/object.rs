//! The object of a response.

use serde_json::{Map, Value, json};
use sm_runtime::{Completion, FinishReason, SamplingOptions};

/// What a response repeats of its request, with all fields that clients expect, null or not.
#[derive(Clone, Debug)]
pub struct ResponseFields(Map<String, Value>);

impl ResponseFields {
    pub(super) fn new(body: &Map<String, Value>, tools: Vec<Value>, sampling: &SamplingOptions) -> Self {
        let given = |name: &str, default: Value| {
            let value = body.get(name).filter(|value| !value.is_null());
            (name.to_owned(), value.cloned().unwrap_or(default))
        };
        let mut fields = Map::from_iter([
            given("background", false.into()),
            given("instructions", Value::Null),
            given("max_output_tokens", Value::Null),
            given("max_tool_calls", Value::Null),
            given("metadata", json!({})),
            given("parallel_tool_calls", true.into()),
            given("previous_response_id", Value::Null),
            given("prompt_cache_key", Value::Null),
            given("reasoning", json!({"effort": null, "summary": null})),
            given("safety_identifier", Value::Null),
            given("service_tier", "default".into()),
            given("store", true.into()),
            given("text", json!({"format": {"type": "text"}})),
            given("tool_choice", "auto".into()),
            given("top_logprobs", 0.into()),
            given("truncation", "disabled".into()),
            given("user", Value::Null),
        ]);
        if fields["text"]["format"].is_null() {
            fields["text"]["format"] = json!({"type": "text"});
        }
        if fields["service_tier"] == "auto" {
            fields["service_tier"] = "default".into();
        }
        for name in ["effort", "summary"] {
            if fields["reasoning"].get(name).is_none() {
                fields["reasoning"][name] = Value::Null;
            }
        }
        fields.insert("tools".to_owned(), tools.into());
        for (name, value) in [
            ("temperature", sampling.temperature),
            ("top_p", sampling.top_p),
            ("presence_penalty", sampling.presence_penalty),
            ("frequency_penalty", sampling.frequency_penalty),
        ] {
            fields.insert(name.to_owned(), shortest(value));
        }
        Self(fields)
    }
}

/// A number as it was written, and not with the digits that single precision adds.
fn shortest(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

/// What all objects of a response begin with.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// The id, without its prefix.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The model's name.
    pub model: String,
    /// What it repeats of its request.
    pub fields: ResponseFields,
}

impl ResponseHead {
    /// The id of the response.
    pub fn response_id(&self) -> String {
        format!("resp_{}", self.id)
    }

    /// The object while the response is being made.
    pub(super) fn in_progress(&self) -> Value {
        self.object("in_progress", &[])
    }

    /// The object at the end.
    pub(super) fn ended(
        &self,
        items: &[Value],
        completion: &Completion,
        n_thought: usize,
        now: u64,
    ) -> Value {
        let is_cut = is_cut(completion.finish_reason);
        let mut object = self.object(if is_cut { "incomplete" } else { "completed" }, items);
        if is_cut {
            object["incomplete_details"] = json!({"reason": "max_output_tokens"});
        } else {
            object["completed_at"] = now.into();
        }
        let usage = completion.usage;
        object["usage"] = json!({
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
            "output_tokens": usage.generated_tokens,
            "output_tokens_details": {"reasoning_tokens": n_thought},
            "total_tokens": usage.prompt_tokens + usage.generated_tokens,
        });
        object
    }

    /// The object of a response that failed.
    pub(super) fn failed(&self, items: &[Value], message: &str) -> Value {
        let mut object = self.object("failed", items);
        object["error"] = json!({"code": "server_error", "message": message});
        object
    }

    fn object(&self, status: &str, items: &[Value]) -> Value {
        let mut object = json!({
            "id": self.response_id(),
            "object": "response",
            "created_at": self.created,
            "completed_at": null,
            "status": status,
            "error": null,
            "incomplete_details": null,
            "model": self.model,
            "output": items,
            "usage": null,
        });
        self.fields.0.iter().for_each(|(name, value)| object[name] = value.clone());
        object
    }
}

/// Whether an answer ended before the model was done.
pub(super) fn is_cut(reason: FinishReason) -> bool {
    matches!(reason, FinishReason::Length | FinishReason::ContextLimit | FinishReason::Timeout)
}
