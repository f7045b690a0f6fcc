//! Answers as in the output files of OpenAI's batches.
//!
//! Ids are made from the line's number and `created` is 0, so that the same run writes the same bytes.

use serde_json::{Map, Value, json};
use sm_runtime::model::tokenizer::Tokenizer;
use sm_runtime::{Completion, ErrorKind, FinishReason, TokenId, TokenLogprob};

use super::super::recipient::{Endpoint, Recipient};
use super::super::refusal::Refusal;

/// The answer to a request that succeeded.
pub(in super::super) fn answered(
    recipient: &Recipient,
    endpoint: Endpoint,
    model: &str,
    completions: &[Completion],
    tokenizer: Option<&dyn Tokenizer>,
) -> Value {
    let (prefix, object) = match endpoint {
        Endpoint::ChatCompletions => ("chatcmpl", "chat.completion"),
        Endpoint::Completions => ("cmpl", "text_completion"),
    };
    let choices = completions.iter().enumerate();
    let choices: Vec<Value> = choices.map(|(index, each)| choice(endpoint, index, each, tokenizer)).collect();
    let prompt_tokens = completions[0].usage.prompt_tokens;
    let completion_tokens: usize = completions.iter().map(|each| each.usage.generated_tokens).sum();
    let body = json!({
        "id": format!("{prefix}-{}", recipient.number),
        "object": object,
        "created": 0,
        "model": model,
        "choices": choices,
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
    });
    line(recipient, 200, &body)
}

/// The answer to a request that failed.
pub(in super::super) fn failed(recipient: &Recipient, refusal: &Refusal) -> Value {
    let (status, kind) = match refusal.kind {
        ErrorKind::InvalidRequest | ErrorKind::Limit => (400, "invalid_request_error"),
        ErrorKind::Overloaded => (503, "server_error"),
        ErrorKind::Timeout => (408, "server_error"),
        _ => (500, "server_error"),
    };
    let error = json!({"message": refusal.message, "type": kind, "param": null, "code": null});
    line(recipient, status, &json!({ "error": error }))
}

fn line(recipient: &Recipient, status: u16, body: &Value) -> Value {
    json!({
        "id": format!("batch_req_{}", recipient.number),
        "custom_id": recipient.id(),
        "response": {
            "status_code": status,
            "request_id": format!("req_{}", recipient.number),
            "body": body,
        },
        "error": null,
    })
}

fn choice(
    endpoint: Endpoint,
    index: usize,
    completion: &Completion,
    tokenizer: Option<&dyn Tokenizer>,
) -> Value {
    let reason = match completion.finish_reason {
        FinishReason::Length | FinishReason::ContextLimit | FinishReason::Timeout => "length",
        _ => "stop",
    };
    let text = |token: TokenId| {
        tokenizer.map(|tokenizer| tokenizer.vocabulary().text_of(Some(token))).unwrap_or_default()
    };
    let pairs = completion.tokens.iter().copied().zip(&completion.logprobs);
    match endpoint {
        Endpoint::ChatCompletions => {
            let content: Vec<Value> = pairs.map(|(token, logprob)| of_chat(token, logprob, &text)).collect();
            let logprobs = if content.is_empty() { Value::Null } else { json!({ "content": content }) };
            json!({
                "index": index,
                "message": {"role": "assistant", "content": completion.text, "refusal": null},
                "logprobs": logprobs,
                "finish_reason": reason,
            })
        }
        Endpoint::Completions => {
            let (tokens, of_tokens): (Vec<TokenId>, Vec<&TokenLogprob>) = pairs.unzip();
            let logprobs =
                if tokens.is_empty() { Value::Null } else { of_completion(&tokens, &of_tokens, &text) };
            json!({"index": index, "text": completion.text, "logprobs": logprobs, "finish_reason": reason})
        }
    }
}

fn of_chat(token: TokenId, logprob: &TokenLogprob, text: &dyn Fn(TokenId) -> String) -> Value {
    let entry = |token: TokenId, logprob: f32| {
        let text = text(token);
        json!({"token": text, "logprob": logprob, "bytes": text.as_bytes()})
    };
    let mut own = entry(token, logprob.logprob);
    own["top_logprobs"] = logprob.top.iter().map(|(token, logprob)| entry(*token, *logprob)).collect();
    own
}

fn of_completion(tokens: &[TokenId], logprobs: &[&TokenLogprob], text: &dyn Fn(TokenId) -> String) -> Value {
    let texts: Vec<String> = tokens.iter().map(|token| text(*token)).collect();
    let offsets = texts.iter().scan(0, |end, text| {
        let start = *end;
        *end += text.chars().count();
        Some(start)
    });
    let top = |logprob: &&TokenLogprob| {
        let top = logprob.top.iter().map(|(token, logprob)| (text(*token), json!(logprob)));
        Value::Object(top.collect::<Map<_, _>>())
    };
    json!({
        "text_offset": offsets.collect::<Vec<usize>>(),
        "token_logprobs": logprobs.iter().map(|each| each.logprob).collect::<Vec<f32>>(),
        "top_logprobs": logprobs.iter().map(top).collect::<Vec<Value>>(),
        "tokens": texts,
    })
}
