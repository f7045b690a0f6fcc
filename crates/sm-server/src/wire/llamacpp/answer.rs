//! Answers, at once and as chunks of a stream.

use serde_json::{Map, Value, json};
use sm_runtime::model::tokenizer::{SpecialTokens, Tokenizer};
use sm_runtime::{Completion, FinishReason, GenerationOptions, LogprobsOf, TokenEvent, TokenId};

use super::settings::settings;
use super::timings::timings;
use super::{CompletionCall, RunningTimings, prompt_progress};

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

/// A whole answer with all its fields, whoever asked for it and how.
pub fn whole(
    model: &str,
    of: &Completion,
    options: &GenerationOptions,
    tokenizer: Option<&dyn Tokenizer>,
) -> Value {
    let call = CompletionCall::whole(options.clone());
    completion(&CompletionHead { model, call: &call, tokenizer }, 0, of)
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
        let scored = scored.map(|(token, of)| scored_token(head, (*token, of.logprob), &of.top));
        answer["completion_probabilities"] = scored.collect();
    }
    select(answer, &call.fields)
}

/// The chunk of an event; `None` for one that ends the answer and is no part of it.
pub fn chunk(head: &CompletionHead<'_>, event: &TokenEvent, timings: &RunningTimings) -> Option<Value> {
    let mut chunk = match event.prefill {
        Some(progress) if head.call.reports_progress => {
            let tokens: [u32; 0] = [];
            let mut chunk =
                json!({"index": 0, "content": "", "tokens": tokens, "stop": false, "id_slot": -1});
            chunk["prompt_progress"] = prompt_progress(progress);
            chunk
        }
        Some(_) => return None,
        None => token_chunk(head, event)?,
    };
    if let Some(timings) = timings.value().filter(|_| head.call.has_timings) {
        chunk["timings"] = timings;
    }
    Some(chunk)
}

fn token_chunk(head: &CompletionHead<'_>, event: &TokenEvent) -> Option<Value> {
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
        let scored = scored_token(head, (token, logprob), &event.top_logprobs);
        chunk["completion_probabilities"] = json!([scored]);
    }
    Some(chunk)
}

fn ids(tokens: &[TokenId]) -> Vec<u32> {
    tokens.iter().map(|token| token.0).collect()
}

/// A token with its log-probability, or the probability with which it was drawn.
fn scored_token(head: &CompletionHead<'_>, own: (TokenId, f32), top: &[(TokenId, f32)]) -> Value {
    let is_drawn = head.call.options.logprobs_of == LogprobsOf::Candidates;
    let entry = |(token, logprob): (TokenId, f32)| {
        let bytes = head.tokenizer.map_or(&[][..], |tokenizer| tokenizer.vocabulary().token_bytes(token));
        let mut entry = json!({"id": token.0, "token": String::from_utf8_lossy(bytes), "bytes": bytes});
        match is_drawn {
            true => entry["prob"] = logprob.exp().into(),
            false => entry["logprob"] = logprob.into(),
        }
        entry
    };
    let mut scored = entry(own);
    let name = if is_drawn { "top_probs" } else { "top_logprobs" };
    scored[name] = top.iter().map(|each| entry(*each)).collect();
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

/// The fields by their paths, such as `generation_settings/seed`, under these paths; all if none are named.
fn select(answer: Value, paths: &[String]) -> Value {
    if paths.is_empty() {
        return answer;
    }
    let field = |path: &String| Some((path.clone(), answer.pointer(&format!("/{path}"))?.clone()));
    Value::Object(paths.iter().filter_map(field).collect::<Map<_, _>>())
}
