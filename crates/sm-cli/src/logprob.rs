//! Log-probabilities as JSON.

use serde::Serialize;
use sm_runtime::TokenLogprob;

/// The log-probability of a token, and of the most likely tokens in its place.
#[derive(Debug, Serialize)]
pub(crate) struct Logprob {
    logprob: f32,
    top: Vec<Alternative>,
}

#[derive(Debug, Serialize)]
struct Alternative {
    token: u32,
    logprob: f32,
}

/// Those of some tokens.
pub(crate) fn logprobs(tokens: &[TokenLogprob]) -> Vec<Logprob> {
    let top = |token: &TokenLogprob| {
        token.top.iter().map(|(token, logprob)| Alternative { token: token.0, logprob: *logprob }).collect()
    };
    tokens.iter().map(|token| Logprob { logprob: token.logprob, top: top(token) }).collect()
}
