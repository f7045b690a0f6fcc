//! Answers at once.

use serde::Serialize;
use serde_json::{Value, json};
use sm_runtime::model::tokenizer::Tokenizer;
use sm_runtime::{Completion, Usage};

use super::logprobs::{Scored, logprobs};
use super::{Endpoint, finish_reason};

/// What all parts of an answer begin with.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// Which of the two.
    pub endpoint: Endpoint,
    /// The id, without its prefix.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The model's name.
    pub model: String,
    /// What computes: the same fingerprint and seed give the same text.
    pub fingerprint: Option<String>,
    /// Whether the usage tells what was cached, which depends on other requests.
    pub tells_of_cache: bool,
}

impl ResponseHead {
    pub(super) fn object(&self, is_chunk: bool) -> Value {
        let object = match (self.endpoint, is_chunk) {
            (Endpoint::ChatCompletions, false) => "chat.completion",
            (Endpoint::ChatCompletions, true) => "chat.completion.chunk",
            (Endpoint::Completions, _) => "text_completion",
        };
        json!({
            "id": format!("{}-{}", self.endpoint.id_prefix(), self.id),
            "object": object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        })
    }
}

/// The answer to a request that succeeded. There is at least one completion.
pub fn completion(
    head: &ResponseHead,
    completions: &[Completion],
    tokenizer: Option<&dyn Tokenizer>,
) -> Value {
    let mut answer = head.object(false);
    answer["choices"] = completions.iter().map(|each| choice(head.endpoint, each, tokenizer)).collect();
    answer["usage"] = usage(head, completions);
    answer
}

fn choice(endpoint: Endpoint, completion: &Completion, tokenizer: Option<&dyn Tokenizer>) -> Value {
    let pairs = completion.tokens.iter().zip(&completion.logprobs);
    let scored = pairs.map(|(token, of)| Scored { token: *token, logprob: of.logprob, top: of.top.clone() });
    let logprobs = logprobs(endpoint, &scored.collect::<Vec<_>>(), 0, tokenizer);
    let reason = finish_reason(completion.finish_reason);
    let text = &completion.text;
    let index = completion.choice;
    match endpoint {
        Endpoint::ChatCompletions => json!({
            "index": index,
            "message": {"role": "assistant", "content": text, "refusal": null},
            "logprobs": logprobs,
            "finish_reason": reason,
        }),
        Endpoint::Completions => {
            json!({"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason})
        }
    }
}

/// Tokens of the prompt, which counts once, and of all choices.
pub(super) fn usage(head: &ResponseHead, completions: &[Completion]) -> Value {
    let of_prompt = completions.first().map_or_else(Usage::default, |completion| completion.usage);
    let completion_tokens: usize = completions.iter().map(|each| each.usage.generated_tokens).sum();
    let prompt_tokens = of_prompt.prompt_tokens;
    let mut usage = json!({
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    });
    if head.tells_of_cache {
        usage["prompt_tokens_details"] = json!({"cached_tokens": of_prompt.cached_tokens});
    }
    usage
}

/// A model.
#[derive(Debug, Serialize)]
pub struct ModelObject {
    /// Its name.
    pub id: String,
    /// `model`
    pub object: &'static str,
    /// Seconds since 1970 when it was added.
    pub created: u64,
    /// Who offers it.
    pub owned_by: &'static str,
}

/// A list of models.
#[derive(Debug, Serialize)]
pub struct ModelList {
    /// `list`
    pub object: &'static str,
    /// The models.
    pub data: Vec<ModelObject>,
}
