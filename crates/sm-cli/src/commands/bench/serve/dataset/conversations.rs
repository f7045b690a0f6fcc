//! Conversations in the form of ShareGPT: the first turn is a prompt, and the second says how long its answer is.

use rand::seq::SliceRandom;
use serde::Deserialize;

use super::text::TextMaker;
use super::{DatasetArgs, Planned, content, malformed, repeated};
use crate::failure::Failure;

/// Conversations that vLLM leaves out as well: shorter in either part, with longer prompts, or longer as a whole.
const MIN_LEN: usize = 4;
const MAX_PROMPT_LEN: usize = 1024;
const MAX_LEN: usize = 2048;

#[derive(Debug, Deserialize)]
struct Conversation {
    conversations: Vec<Turn>,
}

#[derive(Debug, Deserialize)]
struct Turn {
    value: String,
}

pub(super) fn read(args: &DatasetArgs, maker: &mut TextMaker) -> Result<Vec<Planned>, Failure> {
    let mut all: Vec<Conversation> =
        serde_json::from_str(&content(args)?).map_err(|error| malformed(args, error))?;
    all.shuffle(maker.rng());
    let mut requests = Vec::new();
    for conversation in all {
        let [prompt, answer, ..] = &conversation.conversations[..] else {
            continue;
        };
        let (n_input, n_answer) = (maker.count(&prompt.value)?, maker.count(&answer.value)?);
        let n_output = args.sharegpt_output_len.unwrap_or(n_answer);
        let fits = n_input >= MIN_LEN
            && n_output >= MIN_LEN
            && n_input <= MAX_PROMPT_LEN
            && n_input + n_output <= MAX_LEN;
        if fits {
            requests.push(Planned { prompt: prompt.value.clone(), n_output, at: None });
        }
        if requests.len() == args.num_prompts {
            break;
        }
    }
    if requests.is_empty() {
        let message = format!("no conversation has two turns and {MIN_LEN} to {MAX_LEN} tokens");
        return Err(malformed(args, message));
    }
    Ok(repeated(&requests, args.num_prompts))
}
