//! Turns a step's logits into tokens: for single sequences, for the choices of a prompt, for drafts, and for prompt
//! scores and embeddings.

use sm_batching::{Results, StepPart, Verdict, Wanted};
use sm_kernels::plan::StepOutput;
use sm_tensor::TokenId;

use super::active_request::{ActiveRequest, DrawPosition, ModelOutput, SamplingBuffers};

/// Scores the prompt tokens whose logits are in a part of a step, or takes its hidden states.
pub(super) fn score_part(
    part: &StepPart,
    active: &mut ActiveRequest,
    token_ids: &[TokenId],
    output: &StepOutput,
    buffers: &mut SamplingBuffers,
) {
    for (index, row) in part.scored_outputs().enumerate() {
        let position = part.scored_start + index + 1;
        if active.is_embedded() {
            active.pool(position - 1, output.hidden(row));
        } else if let Err(error) = active.score(position, token_ids[position], output.logits(row), buffers) {
            active.error.get_or_insert(error);
        }
    }
}

/// Samples for all choices of a part of a step.
pub(super) fn sample_part(
    part: &StepPart,
    active: &mut ActiveRequest,
    token_ids: &[TokenId],
    output: &mut StepOutput,
    buffers: &mut SamplingBuffers,
    results: &mut Results,
) {
    let Some(row) = part.sampled_outputs().next() else {
        return;
    };
    let wanted = active.wanted();
    let shares_logits = part.n_choices > 1 && wanted == Wanted::Logits;
    if shares_logits {
        buffers.keep_shared(output.logits(row));
    }
    for offset in 0..part.n_choices as usize {
        if shares_logits && offset > 0 {
            buffers.restore_shared(output.logits_mut(row));
        }
        let at = DrawPosition { choice: part.id.choice as usize + offset, token_ids };
        let sampled = match active.error {
            // Another choice failed in this step.
            Some(_) => None,
            None => active
                .sample(&at, ModelOutput::of_row(output, row, wanted), buffers)
                .map_err(|error| active.error = Some(error))
                .ok(),
        };
        match sampled {
            None => results.push(&[], Verdict::Stop),
            Some(sampled) => {
                let verdict = if sampled.stops { Verdict::Stop } else { Verdict::Continue };
                let tokens = [sampled.token];
                results.push(if sampled.is_kept { &tokens } else { &[] }, verdict);
            }
        }
    }
}

/// Samples for a sequence with drafts, until a draft is rejected or the sequence ends. Returns the number accepted.
pub(super) fn sample_drafted(
    part: &StepPart,
    token_ids: &[TokenId],
    drafts: &[TokenId],
    active: &mut ActiveRequest,
    output: &mut StepOutput,
    buffers: &mut SamplingBuffers,
    results: &mut Results,
) -> usize {
    let choice = part.id.choice as usize;
    let wanted = active.wanted();
    let mut tokens = std::mem::take(&mut buffers.tokens);
    tokens.clear();
    tokens.extend_from_slice(token_ids);
    let mut n_accepted = 0;
    let mut verdict = Verdict::Continue;
    for row in part.sampled_outputs() {
        let at = DrawPosition { choice, token_ids: &tokens };
        let sampled = match active.sample(&at, ModelOutput::of_row(output, row, wanted), buffers) {
            Ok(sampled) => sampled,
            Err(error) => {
                active.error = Some(error);
                verdict = Verdict::Stop;
                break;
            }
        };
        if sampled.is_kept {
            tokens.push(sampled.token);
        }
        if sampled.stops {
            verdict = Verdict::Stop;
            break;
        }
        if drafts.get(n_accepted) != Some(&sampled.token) {
            break;
        }
        n_accepted += 1;
    }
    results.push(&tokens[token_ids.len()..], verdict);
    buffers.tokens = tokens;
    active.count_drafts(choice, drafts.len(), n_accepted);
    n_accepted
}
