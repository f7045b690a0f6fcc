//! Which values are impossible.

use super::*;

fn rejected_field(change: impl FnOnce(&mut GenerationOptions)) -> &'static str {
    let mut options = GenerationOptions::default();
    change(&mut options);
    match options.validate() {
        Err(Error::Validation { field, .. }) => field,
        other => panic!("expected a validation error, got {other:?}"),
    }
}

#[test]
fn defaults_are_valid() {
    GenerationOptions::default().validate().unwrap();
    GenerationOptions { sampling: SamplingOptions::greedy(), ..Default::default() }.validate().unwrap();
}

#[test]
fn impossible_values_name_their_field() {
    assert_eq!(rejected_field(|o| o.sampling.temperature = -0.1), "temperature");
    assert_eq!(rejected_field(|o| o.sampling.temperature = f32::NAN), "temperature");
    assert_eq!(rejected_field(|o| o.sampling.temperature = f32::INFINITY), "temperature");
    assert_eq!(rejected_field(|o| o.sampling.top_p = 1.01), "top_p");
    assert_eq!(rejected_field(|o| o.sampling.top_p = f32::NAN), "top_p");
    assert_eq!(rejected_field(|o| o.sampling.min_p = -0.5), "min_p");
    assert_eq!(rejected_field(|o| o.sampling.repetition_penalty = 0.0), "repetition_penalty");
    assert_eq!(rejected_field(|o| o.sampling.presence_penalty = f32::NAN), "presence_penalty");
    assert_eq!(rejected_field(|o| o.sampling.frequency_penalty = f32::INFINITY), "frequency_penalty");
    assert_eq!(rejected_field(|o| o.sampling.frequency_penalty = -100.5), "frequency_penalty");
    assert_eq!(rejected_field(|o| o.sampling.logit_bias.push((TokenId(3), f32::INFINITY))), "logit_bias");
    assert_eq!(rejected_field(|o| o.sampling.allowed_tokens = Some(Vec::new())), "allowed_tokens");
    assert_eq!(rejected_field(|o| o.sampling.bad_words.push(String::new())), "bad_words");
    assert_eq!(rejected_field(|o| o.limits.max_new_tokens = 0), "max_new_tokens");
    assert_eq!(rejected_field(|o| o.limits.max_length = Some(0)), "max_length");
    assert_eq!(rejected_field(|o| o.limits.max_time_ms = Some(0)), "max_time_ms");
    assert_eq!(rejected_field(|o| o.stop.sequences.push(String::new())), "stop");
    assert_eq!(rejected_field(|o| o.stop.min_new_tokens = 101), "min_new_tokens");
}

#[test]
fn more_texts_than_a_step_can_look_for_are_rejected() {
    let texts = |n: usize| (0..n).map(|i| format!("word {i}")).collect::<Vec<_>>();
    assert_eq!(rejected_field(|o| o.sampling.bad_words = texts(100_001)), "bad_words");
    assert_eq!(rejected_field(|o| o.sampling.bad_words = vec!["x".repeat(1_001)]), "bad_words");
    assert_eq!(rejected_field(|o| o.stop.sequences = texts(1_001)), "stop");
    assert_eq!(rejected_field(|o| o.stop.sequences = vec!["x".repeat(1_001)]), "stop");
    assert_eq!(rejected_field(|o| o.sampling.dry.sequence_breakers = texts(101)), "dry.sequence_breakers");
    let mut options = GenerationOptions::default();
    (options.sampling.bad_words, options.stop.sequences) = (texts(100_000), texts(1_000));
    options.validate().unwrap();
}

#[test]
fn more_input_than_context_is_rejected() {
    let field = rejected_field(|o| {
        o.limits.max_input_tokens = Some(11);
        o.limits.max_context_tokens = Some(10);
    });
    assert_eq!(field, "max_input_tokens");
}
