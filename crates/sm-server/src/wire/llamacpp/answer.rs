//! Answers, at once and as chunks of a stream.

use serde_json::{Map, Value, json};
use sm_runtime::model::tokenizer::{SpecialTokens, Tokenizer};
use sm_runtime::{Completion, FinishReason, PrefillProgress, TokenEvent, TokenId};

use super::CompletionCall;
use super::settings::settings;
use crate::wire::openai::prompt_progress;

/// What the answers to a body have in common.
#[derive(Clone, Copy, Debug)]
pub struct CompletionHead<'a> {
    /// The model's name.
    pub model: &'a str,
    /// What was asked for.
    pub call: &'a CompletionCall,
    /// The model's tokenizer.
    pub tokenizer: Option<&'a dyn Tokenizer>,
}

/// The answer to the prompt at `index`; the last chunk of a stream has no text and tokens, which were sent before.
pub fn completion(head: &CompletionHead<'_>, index: usize, completion: &Completion) -> Value {
    let CompletionHead { model, call, tokenizer } = *head;
    let prompt = tokenizer.map(|tokenizer| tokenizer.decode(&completion.prompt_tokens, SpecialTokens::Keep));
    let is_sent = call.is_stream;
    let tokens: &[TokenId] = if call.has_tokens && !is_sent { &completion.tokens } else { &[] };
    let text = if is_sent { "" } else { completion.text.as_str() };
    let mut answer = json!({
        "index": index,
        "content": text,
        "tokens": ids(tokens),
        "id_slot": -1,
        "stop": true,
        "model": model,
        "tokens_predicted": completion.usage.generated_tokens,
        "tokens_evaluated": completion.usage.prompt_tokens,
        "generation_settings": settings(&call.options, Some(completion.seed), tokenizer),
        "prompt": prompt.unwrap_or_default(),
        "has_new_line": completion.text.contains('\n'),
        "truncated": completion.finish_reason == FinishReason::ContextLimit,
        "stop_type": stop_type(completion.finish_reason),
        "stopping_word": "",
        "tokens_cached": completion.usage.prompt_tokens + completion.usage.generated_tokens,
        "timings": timings(completion),
    });
    if call.options.logprobs.is_some() && !is_sent {
        let scored = completion.tokens.iter().zip(&completion.logprobs);
        let scored = scored.map(|(token, of)| scored_token((*token, of.logprob), &of.top, tokenizer));
        answer["completion_probabilities"] = scored.collect();
    }
    select(answer, &call.fields)
}

/// The chunk that tells how far the prompt is.
pub fn prefill(progress: &PrefillProgress) -> Value {
    json!({
        "index": 0,
        "content": "",
        "tokens": [],
        "stop": false,
        "id_slot": -1,
        "tokens_predicted": 0,
        "tokens_evaluated": progress.done_tokens,
        "prompt_progress": prompt_progress(progress),
    })
}

/// The chunk of a token; `None` for one that ends the answer and is no part of it.
pub fn chunk(head: &CompletionHead<'_>, event: &TokenEvent) -> Option<Value> {
    let token = event.token?;
    if matches!(event.finish_reason, Some(FinishReason::Eos | FinishReason::Stop)) && event.text.is_empty() {
        return None;
    }
    let mut chunk = json!({
        "index": 0,
        "content": event.text,
        "tokens": [token.0],
        "stop": false,
        "id_slot": -1,
        "tokens_predicted": event.index + 1,
    });
    if let Some(logprob) = event.logprob {
        let scored = scored_token((token, logprob), &event.top_logprobs, head.tokenizer);
        chunk["completion_probabilities"] = json!([scored]);
    }
    Some(chunk)
}

fn ids(tokens: &[TokenId]) -> Vec<u32> {
    tokens.iter().map(|token| token.0).collect()
}

fn scored_token(own: (TokenId, f32), top: &[(TokenId, f32)], tokenizer: Option<&dyn Tokenizer>) -> Value {
    let entry = |(token, logprob): (TokenId, f32)| {
        let bytes = tokenizer.map_or(&[][..], |tokenizer| tokenizer.vocabulary().token_bytes(token));
        json!({"id": token.0, "token": String::from_utf8_lossy(bytes), "bytes": bytes, "logprob": logprob})
    };
    let mut scored = entry(own);
    scored["top_logprobs"] = top.iter().map(|each| entry(*each)).collect();
    scored
}

fn stop_type(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Length | FinishReason::ContextLimit | FinishReason::Timeout => "limit",
        FinishReason::Eos | FinishReason::Stop | FinishReason::Complete => "eos",
        FinishReason::StopSequence => "word",
        _ => "none",
    }
}

/// How long prompt and answer took. The first token comes with the last prompt step, so it is no part of the decoding.
pub fn timings(completion: &Completion) -> Value {
    let (usage, timings) = (&completion.usage, &completion.timings);
    let n_prompt = usage.prompt_tokens - usage.cached_tokens;
    let [prompt_ms, predicted_ms] = [timings.prefill, timings.decode].map(|time| time.as_secs_f64() * 1e3);
    let n_steps = usage.generated_tokens.saturating_sub(1);
    let per = |amount: f64, of: f64| if of > 0.0 { amount / of } else { 0.0 };
    let mut timings = json!({
        "cache_n": usage.cached_tokens,
        "prompt_n": n_prompt,
        "prompt_ms": prompt_ms,
        "prompt_per_token_ms": per(prompt_ms, n_prompt as f64),
        "prompt_per_second": per(n_prompt as f64 * 1e3, prompt_ms),
        "predicted_n": usage.generated_tokens,
        "predicted_ms": predicted_ms,
        "predicted_per_token_ms": if n_steps > 0 { predicted_ms / n_steps as f64 } else { 0.0 },
        "predicted_per_second": if n_steps > 0 { per(n_steps as f64 * 1e3, predicted_ms) } else { 0.0 },
    });
    if usage.drafted_tokens > 0 {
        timings["draft_n"] = usage.drafted_tokens.into();
        timings["draft_n_accepted"] = usage.accepted_tokens.into();
    }
    timings
}

/// The fields by their paths, such as `generation_settings/seed`, under these paths; all if none are named.
fn select(answer: Value, paths: &[String]) -> Value {
    if paths.is_empty() {
        return answer;
    }
    let field = |path: &String| Some((path.clone(), answer.pointer(&format!("/{path}"))?.clone()));
    Value::Object(paths.iter().filter_map(field).collect::<Map<_, _>>())
}
