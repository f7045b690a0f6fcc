//! The object `options`: what Ollama calls the options of a model.

use serde_json::{Map, Value};
use sm_runtime::GenerationOptions;

use crate::wire::{FieldError, options};

/// Options of the program that runs the model, and of how it shifts a full context, which ours does not: they change no text.
const WITHOUT_EFFECT: [&str; 15] = [
    "num_keep",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "num_thread",
    "numa",
    "low_vram",
    "f16_kv",
    "logits_all",
    "vocab_only",
    "use_mmap",
    "use_mlock",
    "embedding_only",
    "draft_num_predict",
    "num_gqa",
];

/// Takes over the options of a body.
///
/// # Errors
/// The first one that is wrong, as `options.NAME`.
pub(super) fn apply(options: &mut GenerationOptions, given: &Map<String, Value>) -> Result<(), FieldError> {
    for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
        set(options, name, value).map_err(|message| FieldError::new(format!("options.{name}"), message))?;
    }
    // Ollama's window of no tokens disables the penalty; ours of none means all.
    if given.get("repeat_last_n").and_then(Value::as_i64) == Some(0) {
        options.sampling.repetition_penalty = 1.0;
    }
    Ok(())
}

fn set(options: &mut GenerationOptions, name: &str, value: &Value) -> Result<(), String> {
    match name {
        // -1 has no limit, -2 fills the context, and 0 counts as no limit, too.
        "num_predict" => {
            let is_unlimited = value.as_f64().is_some_and(|n| n <= 0.0 && n.fract() == 0.0);
            let n_tokens = if is_unlimited { usize::MAX } else { options::count(value)? };
            options.limits.max_new_tokens = n_tokens;
        }
        "num_ctx" => options.limits.max_context_tokens = Some(options::count(value)?).filter(|n| *n > 0),
        "repeat_last_n" => {
            let window = if value.as_f64() == Some(-1.0) { 0 } else { options::count(value)? };
            options.sampling.repetition_window = window;
        }
        // An old sampler that newer versions of Ollama do not have either.
        "tfs_z" if value.as_f64() == Some(1.0) => {}
        "tfs_z" => return Err("tail-free sampling is not supported; use min_p, or leave it out".to_owned()),
        "penalize_newline" if value.as_bool() == Some(true) => {}
        "penalize_newline" => {
            return Err("line ends cannot be left out of the penalty; leave it out".to_owned());
        }
        _ if WITHOUT_EFFECT.contains(&name) => {}
        _ => {
            let unknown = || Err("unknown option; correct its name, or leave it out".to_owned());
            return options::set(options, options::canonical(name), value).unwrap_or_else(unknown);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn applied(given: &Value) -> Result<GenerationOptions, FieldError> {
        let mut options = GenerationOptions::new();
        apply(&mut options, given.as_object().unwrap_or(&Map::new())).map(|()| options)
    }

    /// The example of <https://github.com/ollama/ollama/blob/main/docs/api.md> with every option, but Mirostat 1.
    #[test]
    fn all_options_of_the_documentation_are_known() {
        let all = json!({
            "num_keep": 5, "seed": 42, "num_predict": 100, "top_k": 20, "top_p": 0.9, "min_p": 0.0, "typical_p": 0.7,
            "repeat_last_n": 33, "temperature": 0.8, "repeat_penalty": 1.2, "presence_penalty": 1.5,
            "frequency_penalty": 1.0, "mirostat": 2, "mirostat_tau": 0.8, "mirostat_eta": 0.6, "penalize_newline": true,
            "stop": ["\n", "user:"], "numa": false, "num_ctx": 1024, "num_batch": 2, "num_gpu": 1, "main_gpu": 0,
            "low_vram": false, "vocab_only": false, "use_mmap": true, "use_mlock": false, "num_thread": 8
        });
        let options = applied(&all).unwrap();
        assert_eq!((options.limits.max_new_tokens, options.limits.max_context_tokens), (100, Some(1024)));
        assert_eq!((options.sampling.repetition_window, options.sampling.repetition_penalty), (33, 1.2));
        assert_eq!((options.sampling.seed, options.sampling.typical_p), (Some(42), 0.7));
        assert_eq!(options.stop.sequences, ["\n", "user:"]);
    }

    #[test]
    fn numbers_that_mean_something_else_here_keep_their_meaning() {
        for unlimited in [-2, -1, 0] {
            assert_eq!(
                applied(&json!({"num_predict": unlimited})).unwrap().limits.max_new_tokens,
                usize::MAX
            );
        }
        assert_eq!(applied(&json!({"num_predict": -1.0})).unwrap().limits.max_new_tokens, usize::MAX);
        for no_count in [json!(-0.5), json!(-1e-100), json!("7")] {
            assert!(applied(&json!({"num_predict": no_count})).is_err(), "{no_count}");
        }
        let off = applied(&json!({"repeat_last_n": 0, "repeat_penalty": 1.3})).unwrap();
        assert_eq!(off.sampling.repetition_penalty, 1.0);
        let all = applied(&json!({"repeat_last_n": -1, "repeat_penalty": 1.3})).unwrap();
        assert_eq!((all.sampling.repetition_penalty, all.sampling.repetition_window), (1.3, 0));
    }

    #[test]
    fn what_cannot_be_honoured_is_named() {
        for (given, field) in [
            (json!({"mirostat": 1}), "options.mirostat"),
            (json!({"tfs_z": 0.5}), "options.tfs_z"),
            (json!({"penalize_newline": false}), "options.penalize_newline"),
            (json!({"tempratur": 0.5}), "options.tempratur"),
            (json!({"temperature": "hot"}), "options.temperature"),
            (json!({"num_ctx": -1}), "options.num_ctx"),
        ] {
            assert_eq!(applied(&given).unwrap_err().field, field);
        }
    }
}
