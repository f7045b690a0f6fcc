//! Options of a request by name: those of the runtime, and those by which common APIs know them.

use std::cmp::Ordering;

use serde_json::Value;
use sm_runtime::{
    EosRule, GenerationOptions, Grammar, LongInput, MatchedStop, SamplerKind, SamplingOptions, SpecialTokens,
    TokenId, WhiteSpace,
};

use crate::chat::regex;

/// Other names: those of the runtime and of common APIs.
const ALIASES: [(&str, &str); 10] = [
    ("max_tokens", "n_tokens"),
    ("max_new_tokens", "n_tokens"),
    ("max_completion_tokens", "n_tokens"),
    ("n_predict", "n_tokens"),
    ("temperature", "temp"),
    ("repetition_penalty", "repeat_penalty"),
    ("allowed_token_ids", "allowed_tokens"),
    ("typical_p", "typical"),
    ("top_n_sigma", "top_nsigma"),
    ("min_new_tokens", "min_tokens"),
];

/// The name by which an option is known here.
pub fn canonical(name: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name)
}

/// Sets an option by its canonical name; `None` if no option has that name.
///
/// # Errors
/// What the value must be, and what it is.
pub fn set(options: &mut GenerationOptions, name: &str, value: &Value) -> Option<Result<(), String>> {
    set_sampling(&mut options.sampling, name, value)
        .or_else(|| set_sampler(&mut options.sampling, name, value))
        .or_else(|| set_end(options, name, value))
        .or_else(|| set_form(options, name, value))
}

/// What most people know.
fn set_sampling(sampling: &mut SamplingOptions, name: &str, value: &Value) -> Option<Result<(), String>> {
    Some(match name {
        "temp" => number(value).map(|it| sampling.temperature = it),
        "top_k" => count_or_unlimited(value, 0).map(|it| sampling.top_k = it),
        "top_p" => number(value).map(|it| sampling.top_p = it),
        "min_p" => number(value).map(|it| sampling.min_p = it),
        "repeat_penalty" => number(value).map(|it| sampling.repetition_penalty = it),
        "repetition_window" => count(value).map(|it| sampling.repetition_window = it),
        "presence_penalty" => number(value).map(|it| sampling.presence_penalty = it),
        "frequency_penalty" => number(value).map(|it| sampling.frequency_penalty = it),
        "seed" => seed(value).map(|it| sampling.seed = it),
        "logit_bias" => biases(value).map(|it| sampling.logit_bias = it),
        "allowed_tokens" => tokens(value).map(|it| sampling.allowed_tokens = Some(it)),
        "bad_words" => texts(value).map(|it| sampling.bad_words = it),
        _ => return None,
    })
}

/// The other samplers.
fn set_sampler(sampling: &mut SamplingOptions, name: &str, value: &Value) -> Option<Result<(), String>> {
    let SamplingOptions { dry, xtc, dynamic_temperature, mirostat, .. } = sampling;
    Some(match name {
        "top_nsigma" => number(value).map(|it| sampling.top_n_sigma = it),
        "typical" => number(value).map(|it| sampling.typical_p = it),
        "xtc_probability" => number(value).map(|it| xtc.probability = it),
        "xtc_threshold" => number(value).map(|it| xtc.threshold = it),
        "dry_multiplier" => number(value).map(|it| dry.multiplier = it),
        "dry_base" => number(value).map(|it| dry.base = it),
        "dry_allowed_length" => count(value).map(|it| dry.allowed_length = it),
        "dry_window" => count(value).map(|it| dry.window = it),
        "dry_sequence_breakers" => texts(value).map(|it| dry.sequence_breakers = it),
        "dynatemp_range" => number(value).map(|it| dynamic_temperature.range = it),
        "dynatemp_exponent" => number(value).map(|it| dynamic_temperature.exponent = it),
        "mirostat" => match value.as_u64() {
            Some(0) => {
                *mirostat = None;
                Ok(())
            }
            Some(2) => Ok(_ = mirostat.get_or_insert_default()),
            _ => Err("must be 2, or 0 to disable it".to_owned()),
        },
        "mirostat_tau" => number(value).map(|it| mirostat.get_or_insert_default().tau = it),
        "mirostat_eta" => number(value).map(|it| mirostat.get_or_insert_default().eta = it),
        "samplers" => samplers(value).map(|it| sampling.samplers = Some(it)),
        _ => return None,
    })
}

/// Where the output ends, and what comes with it.
fn set_end(options: &mut GenerationOptions, name: &str, value: &Value) -> Option<Result<(), String>> {
    let GenerationOptions { limits, stop, echo, logprobs, prompt_logprobs, special_tokens, .. } = options;
    Some(match name {
        "n_tokens" => count_or_unlimited(value, usize::MAX).map(|it| limits.max_new_tokens = it),
        "min_tokens" => count(value).map(|it| stop.min_new_tokens = it),
        "max_length" => count(value).map(|it| limits.max_length = Some(it)),
        "max_prompt_tokens" => count(value).map(|it| limits.max_input_tokens = Some(it)),
        "keep_tail" => {
            flag(value).map(|it| limits.long_input = if it { LongInput::KeepTail } else { LongInput::Reject })
        }
        "max_time_ms" => count(value).map(|it| limits.max_time_ms = Some(it as u64)),
        "stop" if value.is_string() => text(value).map(|it| stop.sequences = vec![it]),
        "stop" => texts(value).map(|it| stop.sequences = it),
        "stop_token_ids" => tokens(value).map(|it| stop.token_ids = it),
        "include_stop_str_in_output" => {
            flag(value).map(|it| stop.matched = if it { MatchedStop::Keep } else { MatchedStop::Remove })
        }
        "skip_special_tokens" => {
            flag(value).map(|it| *special_tokens = if it { SpecialTokens::Skip } else { SpecialTokens::Keep })
        }
        "truncate_prompt_tokens" => count(value).map(|it| {
            limits.max_input_tokens = Some(it);
            limits.long_input = LongInput::KeepTail;
        }),
        "ignore_eos" => flag(value).map(|it| stop.eos = if it { EosRule::Ignore } else { EosRule::Stop }),
        "echo" => flag(value).map(|it| *echo = it),
        "logprobs" => count(value).map(|it| *logprobs = Some(it)),
        "prompt_logprobs" => count(value).map(|it| *prompt_logprobs = Some(it)),
        _ => return None,
    })
}

/// The form of the output.
fn set_form(options: &mut GenerationOptions, name: &str, value: &Value) -> Option<Result<(), String>> {
    let grammar = &mut options.grammar;
    Some(match name {
        "json_schema" => {
            *grammar = Some(Grammar::JsonSchema(value.to_string()));
            Ok(())
        }
        "json_object" => flag(value).map(|it| *grammar = it.then_some(Grammar::JsonObject)),
        "response_format" => response_format(value).map(|it| *grammar = it),
        "json_whitespace" => flag(value).map(|is_free| {
            options.white_space = if is_free { WhiteSpace::Free } else { WhiteSpace::Compact };
        }),
        "regex" => text(value).map(|it| *grammar = Some(Grammar::Regex(it))),
        "grammar" | "guided_grammar" => text(value).map(|it| *grammar = Some(Grammar::of_text(it))),
        "guided_json" => schema(value).map(|it| *grammar = Some(it)),
        "guided_regex" => text(value).map(|it| *grammar = Some(Grammar::Regex(it))),
        "guided_choice" => choices(value).map(|it| *grammar = Some(it)),
        "structured_outputs" => structured_outputs(value).map(|(form, white_space)| {
            *grammar = Some(form);
            options.white_space = white_space.unwrap_or(options.white_space);
        }),
        _ => return None,
    })
}

/// Reads the form as OpenAI's API has it: `{"type": "json_schema", "json_schema": {"name": …, "schema": {…}}}`, `json_object` or `text`.
fn response_format(value: &Value) -> Result<Option<Grammar>, String> {
    let what = "{\"type\": \"json_schema\", \"json_schema\": {\"schema\": …}}, {\"type\": \"json_object\"} or {\"type\": \"text\"}";
    let refused = || expected(what, value);
    match value.get("type").and_then(Value::as_str) {
        Some("text") => Ok(None),
        // A schema beside the type is llama.cpp's.
        Some("json_object") => match value.get("schema") {
            None | Some(Value::Null) => Ok(Some(Grammar::JsonObject)),
            Some(schema) => Ok(Some(Grammar::JsonSchema(schema.to_string()))),
        },
        Some("json_schema") => {
            let schema = value.pointer("/json_schema/schema").ok_or_else(refused)?;
            Ok(Some(Grammar::JsonSchema(schema.to_string())))
        }
        _ => Err(refused()),
    }
}

/// Reads the form as vLLM has it: an object with `json`, `regex`, `choice`, `grammar` or `json_object`.
fn structured_outputs(value: &Value) -> Result<(Grammar, Option<WhiteSpace>), String> {
    let what = "an object with one of json, regex, choice, grammar and json_object";
    let given = value.as_object().ok_or_else(|| expected(what, value))?;
    let (mut form, mut white_space) = (None, None);
    for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
        let next = match name.as_str() {
            "json" => schema(value)?,
            "regex" => Grammar::Regex(text(value)?),
            "choice" => choices(value)?,
            "grammar" => Grammar::of_text(text(value)?),
            "json_object" if *value == true => Grammar::JsonObject,
            "json_object" => continue,
            "disable_any_whitespace" => {
                white_space = Some(if flag(value)? { WhiteSpace::Compact } else { WhiteSpace::Free });
                continue;
            }
            "disable_fallback" | "disable_additional_properties" if *value == false => continue,
            _ => return Err(format!("{name} is not possible; it must be {what}")),
        };
        if form.replace(next).is_some() {
            return Err(format!("must be {what}, not several"));
        }
    }
    Ok((form.ok_or_else(|| expected(what, value))?, white_space))
}

/// A schema as JSON, or as a text that is JSON.
fn schema(value: &Value) -> Result<Grammar, String> {
    Ok(Grammar::JsonSchema(value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
}

/// One of some texts.
fn choices(value: &Value) -> Result<Grammar, String> {
    let texts = texts(value)?;
    if texts.is_empty() {
        return Err("must have at least one text".to_owned());
    }
    let literals: Vec<String> = texts.iter().map(|text| regex::literal(text)).collect();
    Ok(Grammar::Regex(literals.join("|")))
}

/// What a value must be, and what it is.
fn expected(what: &str, value: &Value) -> String {
    let mut given = value.to_string();
    if given.len() > 40 {
        given = given.chars().take(40).chain(['…']).collect();
    }
    format!("must be {what}, not {given}")
}

/// Reads a text.
///
/// # Errors
/// What it must be, and what it is.
pub fn text(value: &Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| expected("a text", value))
}

fn texts(value: &Value) -> Result<Vec<String>, String> {
    list(value, "a list of texts", |each| each.as_str().map(str::to_owned))
}

fn number(value: &Value) -> Result<f32, String> {
    value.as_f64().map(single).ok_or_else(|| expected("a number", value))
}

/// A number in single precision. One that is too large is the largest there, one that is too small does not become zero, and one
/// beside a small whole number, where ranges end, stays on its side.
fn single(number: f64) -> f32 {
    const LARGEST_EXACT: f32 = 16_777_216.0; // 2^24
    let single = (number as f32).clamp(f32::MIN, f32::MAX);
    if single == 0.0 && number != 0.0 {
        return f32::MIN_POSITIVE.copysign(single);
    }
    if single.fract() != 0.0 || single.abs() >= LARGEST_EXACT {
        return single;
    }
    match number.total_cmp(&f64::from(single)) {
        Ordering::Less => single.next_down(),
        Ordering::Equal => single,
        Ordering::Greater => single.next_up(),
    }
}

/// Reads a number of things.
///
/// # Errors
/// What it must be, and what it is.
pub fn count(value: &Value) -> Result<usize, String> {
    let number = whole(value).and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| expected("a whole number of 0 or more", value))
}

/// A whole number of 0 or more. JSON knows no other numbers than decimal ones: 1.0 is 1, and 1e18, too, is a whole number.
fn whole(value: &Value) -> Option<u64> {
    const END: f64 = 18_446_744_073_709_551_616.0; // 2^64
    let from_decimal =
        |number: f64| (number.fract() == 0.0 && (0.0..END).contains(&number)).then_some(number as u64);
    value.as_u64().or_else(|| value.as_f64().and_then(from_decimal))
}

/// Reads a number of which -1 means `unlimited`, as in llama.cpp.
fn count_or_unlimited(value: &Value, unlimited: usize) -> Result<usize, String> {
    if value.as_f64() == Some(-1.0) { Ok(unlimited) } else { count(value) }
}

/// Reads a seed; -1 is a random one.
fn seed(value: &Value) -> Result<Option<u64>, String> {
    if value.as_f64() == Some(-1.0) {
        return Ok(None);
    }
    let what = "a whole number of 0 or more, or -1 for a random seed";
    whole(value).map(Some).ok_or_else(|| expected(what, value))
}

/// Reads a truth value.
///
/// # Errors
/// What it must be, and what it is.
pub fn flag(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| expected("true or false", value))
}

/// Reads token ids.
///
/// # Errors
/// What it must be, and what it is.
pub fn tokens(value: &Value) -> Result<Vec<TokenId>, String> {
    list(value, "a list of token ids", token)
}

fn token(value: &Value) -> Option<TokenId> {
    whole(value).and_then(|id| u32::try_from(id).ok()).map(TokenId)
}

/// Reads biases: pairs of a token id and a number, or an object of them, as OpenAI's; `false` forbids a token.
fn biases(value: &Value) -> Result<Vec<(TokenId, f32)>, String> {
    let what = "a list of pairs of a token id and a number, or an object of them";
    let bias = |value: &Value| match value {
        Value::Bool(false) => Some(f32::NEG_INFINITY),
        other => other.as_f64().map(|number| number as f32),
    };
    if let Value::Object(biases) = value {
        let each = |(id, value): (&String, &Value)| Some((TokenId(id.parse().ok()?), bias(value)?));
        return biases.iter().map(each).collect::<Option<_>>().ok_or_else(|| expected(what, value));
    }
    list(value, what, |pair| match pair.as_array()?.as_slice() {
        [id, value] => Some((token(id)?, bias(value)?)),
        _ => None,
    })
}

fn samplers(value: &Value) -> Result<Vec<SamplerKind>, String> {
    let names = texts(value)?;
    let kinds = names.iter().map(|name| name.parse());
    kinds.collect::<Result<_, sm_runtime::Error>>().map_err(|error| error.to_string())
}

fn list<T>(value: &Value, what: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Vec<T>, String> {
    let read = value.as_array().and_then(|list| list.iter().map(read).collect());
    read.ok_or_else(|| expected(what, value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_option_can_be_set_by_its_name() {
        let mut options = GenerationOptions::new();
        for (name, value) in [
            ("n_predict", json!(-1)),
            ("temperature", json!(0.5)),
            ("top_k", json!(-1)),
            ("seed", json!(-1)),
            ("logit_bias", json!({"3": -1.5, "4": false})),
            ("min_new_tokens", json!(2)),
            ("stop_token_ids", json!([7])),
            ("mirostat_tau", json!(3)),
            ("dry_sequence_breakers", json!(["x"])),
            ("samplers", json!(["top_k", "temperature"])),
        ] {
            set(&mut options, canonical(name), &value).unwrap().unwrap();
        }
        assert_eq!((options.limits.max_new_tokens, options.sampling.top_k), (usize::MAX, 0));
        assert_eq!(options.sampling.logit_bias, [(TokenId(3), -1.5), (TokenId(4), f32::NEG_INFINITY)]);
        assert_eq!(options.sampling.mirostat.map(|it| it.tau), Some(3.0));
        assert_eq!(options.sampling.samplers, Some(vec![SamplerKind::TopK, SamplerKind::Temperature]));
        assert!(set(&mut options, "tempratur", &json!(1)).is_none());
    }

    #[test]
    fn numbers_stay_on_their_side_of_zero_one_and_infinity() {
        let read: Value = serde_json::from_str("100.00000000000001").unwrap();
        assert_eq!(read.as_f64(), Some(100.000_000_000_000_01));
        for (number, expected) in [
            (5e-324, f32::MIN_POSITIVE),
            (-5e-324, -f32::MIN_POSITIVE),
            (1e39, f32::MAX),
            (-1e39, f32::MIN),
            (0.0, 0.0),
            (0.5, 0.5),
            (1.0 + f64::EPSILON, 1.0 + f32::EPSILON),
            (1.0 - f64::EPSILON, 1.0 - f32::EPSILON / 2.0),
            (100.000_000_000_000_01, 100.000_01),
            (-100.000_000_000_000_01, -100.000_01),
            (1e9 + 0.1, 1e9),
            (-0.0, -0.0),
        ] {
            assert_eq!(single(number), expected, "{number}");
        }
    }

    #[test]
    fn messages_say_what_was_expected_in_plain_words() {
        for (name, value, message) in [
            ("temp", json!("hot"), "must be a number, not \"hot\""),
            ("n_tokens", json!(1.5), "must be a whole number of 0 or more, not 1.5"),
            ("ignore_eos", json!(1), "must be true or false, not 1"),
            ("stop", json!([1]), "must be a list of texts, not [1]"),
            ("allowed_tokens", json!([-1]), "must be a list of token ids, not [-1]"),
        ] {
            let error = set(&mut GenerationOptions::new(), name, &value).unwrap().unwrap_err();
            assert_eq!(error, message, "{name}");
        }
    }
}
