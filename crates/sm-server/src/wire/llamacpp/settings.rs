//! The options in effect, by llama.cpp's names. Samplers that SmallMind lacks are shown as disabled.

use serde_json::{Value, json};
use sm_runtime::model::tokenizer::Tokenizer;
use sm_runtime::{EosRule, GenerationOptions, LogprobsOf, SamplerKind};

/// The options of a request with this seed.
pub fn settings(options: &GenerationOptions, seed: Option<u64>, tokenizer: Option<&dyn Tokenizer>) -> Value {
    let sampling = &options.sampling;
    let unlimited = |n: usize| if n == usize::MAX { json!(-1) } else { json!(n) };
    let mut biases: Vec<Value> = sampling
        .logit_bias
        .iter()
        .map(|(token, bias)| json!({"token": token.0, "bias": bias.is_finite().then_some(bias)}))
        .collect();
    if options.stop.eos == EosRule::Ignore
        && let Some(tokenizer) = tokenizer
    {
        let ends = tokenizer.vocabulary().end_of_generation();
        biases.extend(ends.iter().map(|token| json!({"token": token.0, "bias": null})));
    }
    let samplers = sampling.samplers.clone().unwrap_or_else(|| SamplerKind::ALL.to_vec());
    json!({
        "seed": seed,
        "temperature": sampling.temperature,
        "dynatemp_range": sampling.dynamic_temperature.range,
        "dynatemp_exponent": sampling.dynamic_temperature.exponent,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "top_n_sigma": sampling.top_n_sigma,
        "xtc_probability": sampling.xtc.probability,
        "xtc_threshold": sampling.xtc.threshold,
        "typical_p": sampling.typical_p,
        "repeat_last_n": if sampling.repetition_window == 0 { json!(-1) } else { json!(sampling.repetition_window) },
        "repeat_penalty": sampling.repetition_penalty,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "dry_multiplier": sampling.dry.multiplier,
        "dry_base": sampling.dry.base,
        "dry_allowed_length": sampling.dry.allowed_length,
        "dry_penalty_last_n": if sampling.dry.window == 0 { json!(-1) } else { json!(sampling.dry.window) },
        "dry_sequence_breakers": sampling.dry.sequence_breakers,
        "mirostat": if sampling.mirostat.is_some() { 2 } else { 0 },
        "mirostat_tau": sampling.mirostat.map(|mirostat| mirostat.tau),
        "mirostat_eta": sampling.mirostat.map(|mirostat| mirostat.eta),
        "adaptive_target": -1.0,
        "adaptive_decay": 0.0,
        "stop": options.stop.sequences,
        "max_tokens": unlimited(options.limits.max_new_tokens),
        "n_predict": unlimited(options.limits.max_new_tokens),
        "n_keep": 0,
        "n_discard": 0,
        "ignore_eos": options.stop.eos == EosRule::Ignore,
        "n_probs": options.logprobs.unwrap_or(0),
        "post_sampling_probs": options.logprobs_of == LogprobsOf::Candidates,
        "min_keep": 0,
        "logit_bias": biases,
        "samplers": samplers.into_iter().map(SamplerKind::name).collect::<Vec<_>>(),
    })
}
