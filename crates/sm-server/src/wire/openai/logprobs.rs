//! Log-probabilities, in the form of each endpoint.

use serde::Serialize;
use serde_json::{Map, Value, json};
use sm_runtime::model::tokenizer::Tokenizer;
use sm_runtime::{Completion, TokenId, TokenLogprob};

use super::Endpoint;

/// A token with its log-probability, and those of the likeliest tokens at its place.
#[derive(Clone, Debug)]
pub(in crate::wire) struct Scored {
    pub(in crate::wire) token: TokenId,
    /// None of the first token of a prompt, which nothing predicts.
    pub(in crate::wire) logprob: Option<f32>,
    pub(in crate::wire) top: Vec<(TokenId, f32)>,
}

impl Scored {
    pub(in crate::wire) fn new(token: TokenId, of: &TokenLogprob) -> Self {
        Self { token, logprob: Some(of.logprob), top: of.top.clone() }
    }
}

/// The tokens of a prompt, whose log-probabilities were asked for.
pub(super) fn scored_prompt(completion: &Completion) -> impl Iterator<Item = Scored> {
    let Completion { prompt_tokens, prompt_logprobs, .. } = completion;
    let first = prompt_tokens.first().map(|token| Scored { token: *token, logprob: None, top: Vec::new() });
    let others = prompt_tokens.iter().skip(1).zip(prompt_logprobs);
    first.into_iter().chain(others.map(|(token, of)| Scored::new(*token, of)))
}

/// The log-probabilities of a prompt as in vLLM: for each token an object by ids, and null for the first. The rank of a token that
/// is not among the likeliest is not known.
pub(super) fn prompt_logprobs(completion: &Completion, tokenizer: Option<&dyn Tokenizer>) -> Value {
    let entry = |token: TokenId, logprob: f32, rank: Option<usize>| json!({"logprob": logprob, "rank": rank, "decoded_token": text_of(token, tokenizer)});
    let object = |scored: Scored| {
        let Some(logprob) = scored.logprob else { return Value::Null };
        let rank = scored.top.iter().position(|(token, _)| *token == scored.token).map(|index| index + 1);
        let own = (scored.token.0.to_string(), entry(scored.token, logprob, rank));
        let top = scored.top.iter().enumerate();
        let top = top
            .map(|(index, (token, logprob))| (token.0.to_string(), entry(*token, *logprob, Some(index + 1))));
        Value::Object([own].into_iter().chain(top).collect())
    };
    scored_prompt(completion).map(object).collect()
}

/// A token of a chat, with the likeliest at its place.
#[derive(Debug, Serialize)]
struct ChatLogprob {
    #[serde(flatten)]
    own: Entry,
    top_logprobs: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    token: String,
    logprob: f32,
    /// A token may be a part of a character.
    bytes: Vec<u8>,
}

/// The text of a token as it is in the vocabulary.
fn text_of(token: TokenId, tokenizer: Option<&dyn Tokenizer>) -> String {
    tokenizer.map(|tokenizer| tokenizer.vocabulary().text_of(Some(token))).unwrap_or_default()
}

fn entry(token: TokenId, logprob: f32, tokenizer: Option<&dyn Tokenizer>) -> Entry {
    let token = text_of(token, tokenizer);
    Entry { logprob, bytes: token.clone().into_bytes(), token }
}

/// The log-probabilities of tokens that begin at a character of the text; null if there are none.
pub(in crate::wire) fn logprobs(
    endpoint: Endpoint,
    tokens: &[Scored],
    n_characters_before: usize,
    tokenizer: Option<&dyn Tokenizer>,
) -> Value {
    if tokens.is_empty() {
        return Value::Null;
    }
    match endpoint {
        Endpoint::ChatCompletions => {
            let content = tokens.iter().map(|scored| {
                let top = scored.top.iter().map(|(token, logprob)| entry(*token, *logprob, tokenizer));
                let own = entry(scored.token, scored.logprob.unwrap_or_default(), tokenizer);
                ChatLogprob { own, top_logprobs: top.collect() }
            });
            json!({"content": content.collect::<Vec<_>>(), "refusal": null})
        }
        Endpoint::Completions => {
            let texts: Vec<String> = tokens.iter().map(|scored| text_of(scored.token, tokenizer)).collect();
            let offsets = texts.iter().scan(n_characters_before, |end, text| {
                let start = *end;
                *end += text.chars().count();
                Some(start)
            });
            let top = |scored: &Scored| {
                if scored.logprob.is_none() {
                    return Value::Null;
                }
                let top =
                    scored.top.iter().map(|(token, logprob)| (text_of(*token, tokenizer), json!(logprob)));
                Value::Object(top.collect::<Map<_, _>>())
            };
            json!({
                "text_offset": offsets.collect::<Vec<usize>>(),
                "token_logprobs": tokens.iter().map(|scored| scored.logprob).collect::<Vec<_>>(),
                "top_logprobs": tokens.iter().map(top).collect::<Vec<Value>>(),
                "tokens": texts,
            })
        }
    }
}
