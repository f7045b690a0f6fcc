//! The generator on a fake model: what it computes, when it ends, what it refuses.

use sm_tensor::TokenId;

use crate::testing::{FakeSize, fake_model, hashed, scripted, token_of};
use crate::{
    CancelToken, Completion, Error, FinishReason, GenerationOptions, Generator, Limits, LongInput,
    MatchedStop, Prompt, SamplingOptions, StopRules,
};

const SIZE: FakeSize = FakeSize { context_len: 64, max_tokens: 7, n_sequences: 1 };

fn text(prompt: &str) -> Prompt {
    Prompt::Text(prompt.into())
}

fn greedy(max_new_tokens: usize) -> GenerationOptions {
    GenerationOptions {
        sampling: SamplingOptions::greedy(),
        limits: Limits { max_new_tokens, ..Limits::default() },
        ..GenerationOptions::default()
    }
}

fn seeded(seed: u64, max_new_tokens: usize) -> GenerationOptions {
    GenerationOptions {
        sampling: SamplingOptions { seed: Some(seed), ..SamplingOptions::default() },
        ..greedy(max_new_tokens)
    }
}

/// What a scripted model writes behind `a`: the script from its second character on.
fn run(script: &'static str, options: &GenerationOptions) -> Completion {
    Generator::new(fake_model(SIZE, scripted(script)).0).unwrap().generate(&text("a"), options).unwrap()
}

#[test]
fn ends_at_the_number_of_new_tokens() {
    let completion = run("abcdefgh", &greedy(4));
    assert_eq!((completion.text.as_str(), completion.finish_reason), ("bcde", FinishReason::Length));
    assert_eq!(completion.usage.generated_tokens, 4);
    assert_eq!(completion.tokens, "bcde".chars().map(token_of).collect::<Vec<_>>());
}

#[test]
fn an_echoed_prompt_begins_the_text_and_nothing_else() {
    let stop = StopRules { sequences: vec!["ab".into(), "fg".into()], ..StopRules::default() };
    let options = GenerationOptions { echo: true, logprobs: Some(1), stop, ..greedy(20) };
    for prompt in [text("abc"), Prompt::Tokens("abc".chars().map(token_of).collect())] {
        let mut generator = Generator::new(fake_model(SIZE, scripted("abcdefgh")).0).unwrap();
        let completion = generator.generate(&prompt, &options).unwrap();
        assert_eq!(
            (completion.text.as_str(), completion.finish_reason),
            ("abcde", FinishReason::StopSequence)
        );
        assert_eq!(completion.tokens, "de".chars().map(token_of).collect::<Vec<_>>());
        assert_eq!((completion.logprobs.len(), completion.prompt_logprobs.len()), (2, 2));
        assert_eq!(completion.prompt_logprobs[0].top[0].0, token_of('b'));
    }
}

#[test]
fn an_echo_comes_though_nothing_is_generated() {
    let mut generator = Generator::new(fake_model(SIZE, scripted("abcdefgh")).0).unwrap();
    let options = GenerationOptions { echo: true, ..greedy(20) };
    let cancel = CancelToken::new();
    cancel.cancel();
    let prompt = text("abc");
    let mut generation = generator.stream(&prompt, &options, &cancel).unwrap();
    let event = generation.next_event().unwrap().unwrap();
    assert_eq!((event.text.as_str(), event.finish_reason), ("abc", Some(FinishReason::Cancelled)));
    assert_eq!(generation.finish().text, "abc");
}

#[test]
fn the_smaller_bound_of_new_and_total_tokens_wins() {
    let options =
        GenerationOptions { limits: Limits { max_length: Some(4), ..Limits::default() }, ..greedy(100) };
    let completion = run("abcdefgh", &options);
    assert_eq!((completion.text.as_str(), completion.finish_reason), ("bcd", FinishReason::Length));
}

#[test]
fn ends_when_the_context_is_full() {
    let completion = run("abcdefgh", &greedy(1000));
    assert_eq!((completion.tokens.len(), completion.finish_reason), (63, FinishReason::ContextLimit));
    let mut options = greedy(1000);
    options.limits.max_context_tokens = Some(5);
    let completion = run("abcdefgh", &options);
    assert_eq!((completion.text.as_str(), completion.finish_reason), ("bcde", FinishReason::ContextLimit));
}

#[test]
fn a_stop_token_ends_the_output_without_its_text() {
    let stop = StopRules { token_ids: vec![token_of('d')], ..StopRules::default() };
    let completion = run("abcdefgh", &GenerationOptions { stop, ..greedy(20) });
    assert_eq!((completion.text.as_str(), completion.finish_reason), ("bc", FinishReason::Stop));
    assert_eq!(completion.tokens.len(), 2);
}

#[test]
fn a_stop_string_ends_the_output_and_leaves_the_log() {
    let mut generator = Generator::new(fake_model(SIZE, scripted("abcdefgh")).0).unwrap();
    let stop = StopRules { sequences: vec!["def".into()], ..StopRules::default() };
    let mut options = GenerationOptions { stop, ..greedy(20) };
    let completion = generator.generate(&text("a"), &options).unwrap();
    assert_eq!((completion.text.as_str(), completion.finish_reason), ("bc", FinishReason::StopSequence));
    assert_eq!((completion.tokens.len(), completion.usage.generated_tokens), (2, 5));
    assert_eq!(generator.token_ids(), "abc".chars().map(token_of).collect::<Vec<_>>());
    options.stop.matched = MatchedStop::Keep;
    let completion = generator.generate(&text("a"), &options).unwrap();
    assert_eq!((completion.text.as_str(), completion.tokens.len()), ("bcdef", 5));
}

#[test]
fn nothing_stops_before_the_minimum() {
    let stop = StopRules {
        sequences: vec!["c".into()],
        token_ids: vec![token_of('d')],
        min_new_tokens: 5,
        ..StopRules::default()
    };
    let completion = run("abcdefgh", &GenerationOptions { stop, ..greedy(14) });
    // `d` is forbidden at its place, so the lowest token (a line feed) comes; the next `c` stops.
    assert_eq!(
        (completion.text.as_str(), completion.finish_reason),
        ("bc\nefghab", FinishReason::StopSequence)
    );
}

#[test]
fn events_add_up_to_the_completion() {
    let (model, _) = fake_model(SIZE, scripted("abcdefgh"));
    let mut generator = Generator::new(model).unwrap();
    let stop = StopRules { sequences: vec!["cdx".into(), "fgh".into()], ..StopRules::default() };
    let options = GenerationOptions { stop, logprobs: Some(2), ..greedy(20) };
    let mut generation = generator.stream(&text("a"), &options, &CancelToken::new()).unwrap();
    let mut pieces = Vec::new();
    while let Some(event) = generation.next_event().unwrap() {
        assert_eq!(event.index, pieces.len());
        assert!(event.logprob.unwrap() < 0.0);
        pieces.push((event.text.clone(), event.finish_reason));
    }
    let stop = Some(FinishReason::StopSequence);
    let expected = [("b", None), ("", None), ("", None), ("cde", None), ("", None), ("", None), ("", stop)];
    assert_eq!(pieces, expected.map(|(text, reason)| (text.to_owned(), reason)));
    let completion = generation.finish();
    assert_eq!(completion.text, "bcde");
    assert_eq!(completion.logprobs.len(), completion.tokens.len());
    assert_eq!(completion.logprobs[0].top[0].0, token_of('b'));
    assert_eq!(completion.logprobs[0].top[0].1, completion.logprobs[0].logprob);
}

#[test]
fn a_prompt_is_computed_in_chunks_and_only_its_last_row_has_logits() {
    let (model, steps) = fake_model(SIZE, hashed);
    let prompt = "abcdefghijklmnopq";
    Generator::new(model).unwrap().generate(&text(prompt), &greedy(3)).unwrap();
    let expected = [(0, 7, 0), (7, 7, 0), (14, 3, 1), (17, 1, 1), (18, 1, 1)];
    assert_eq!(*steps.lock().unwrap(), expected);
}

#[test]
fn a_next_turn_computes_only_what_is_new_and_gives_the_same() {
    let (model, steps) = fake_model(SIZE, hashed);
    let mut generator = Generator::new(model).unwrap();
    let first = generator.generate(&text("abcdefghij"), &seeded(3, 6)).unwrap();
    steps.lock().unwrap().clear();
    let appended = generator.generate(&Prompt::Append("xyz".into()), &seeded(4, 6)).unwrap();
    // The last token of the first turn was sampled but never computed.
    assert_eq!(steps.lock().unwrap()[0], (15, 4, 1));
    assert_eq!(appended.usage.cached_tokens, 15);
    let whole = format!("abcdefghij{}xyz", first.text);
    generator.reset();
    let alone = generator.generate(&text(&whole), &seeded(4, 6)).unwrap();
    assert_eq!((alone.usage.cached_tokens, &alone.tokens), (0, &appended.tokens));
    steps.lock().unwrap().clear();
    let again = generator.generate(&text(&whole), &seeded(4, 6)).unwrap();
    assert_eq!(steps.lock().unwrap()[0], (18, 1, 1));
    assert_eq!(again.tokens, alone.tokens);
    let edited = generator.generate(&text("abcdeX".replace('X', "z").as_str()), &seeded(4, 6)).unwrap();
    assert_eq!(edited.usage.cached_tokens, 5);
    generator.reset();
    assert_eq!(generator.generate(&text("abcdez"), &seeded(4, 6)).unwrap().tokens, edited.tokens);
}

#[test]
fn a_seed_repeats_a_text_and_chunks_do_not_change_it() {
    let run = |seed, max_tokens| {
        let size = FakeSize { max_tokens, ..SIZE };
        let mut generator = Generator::new(fake_model(size, hashed).0).unwrap();
        generator.generate(&text("hello there"), &seeded(seed, 30)).unwrap()
    };
    let reference = run(42, 7);
    for max_tokens in [1, 2, 11, 64] {
        assert_eq!(run(42, max_tokens).tokens, reference.tokens, "chunks of {max_tokens}");
    }
    assert_ne!(run(43, 7).tokens, reference.tokens);
    let mut options = seeded(0, 30);
    options.sampling.seed = None;
    let mut generator = Generator::new(fake_model(SIZE, hashed).0).unwrap();
    let unseeded = generator.generate(&text("hello there"), &options).unwrap();
    assert_eq!(run(unseeded.seed, 7).tokens, unseeded.tokens);
}

#[test]
fn a_cancelled_generation_ends_at_the_next_step() {
    let mut generator = Generator::new(fake_model(SIZE, scripted("abcdefgh")).0).unwrap();
    let (cancel, options) = (CancelToken::new(), greedy(20));
    let mut generation = generator.stream(&text("a"), &options, &cancel).unwrap();
    generation.next_event().unwrap();
    generation.next_event().unwrap();
    cancel.cancel();
    let last = generation.next_event().unwrap().unwrap();
    assert_eq!((last.token, last.finish_reason), (None, Some(FinishReason::Cancelled)));
    assert!(generation.next_event().unwrap().is_none());
    assert_eq!(generation.finish().text, "bc");
    assert_eq!(generator.token_ids().len(), 3);
}

#[test]
fn a_dropped_generation_keeps_what_was_delivered() {
    let mut generator = Generator::new(fake_model(SIZE, scripted("abcdefgh")).0).unwrap();
    let options = greedy(20);
    let mut generation = generator.stream(&text("a"), &options, &CancelToken::new()).unwrap();
    generation.next_event().unwrap();
    drop(generation);
    let completion = generator.generate(&Prompt::Append("c".into()), &greedy(2)).unwrap();
    assert_eq!(completion.text, "de");
}

#[test]
fn time_is_checked_between_steps() {
    let slow = |history: &[TokenId]| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        hashed(history)
    };
    let mut options = greedy(60);
    options.limits.max_time_ms = Some(50);
    match Generator::new(fake_model(SIZE, slow).0).unwrap().generate(&text("a"), &options) {
        Err(Error::Timeout { limit_ms: 50, partial }) => {
            assert_eq!(partial.finish_reason, FinishReason::Timeout);
            assert!((1..=3).contains(&partial.tokens.len()), "{} tokens", partial.tokens.len());
        }
        other => panic!("expected a timeout, got {other:?}"),
    }
}

#[test]
fn what_cannot_be_is_refused_before_any_step() {
    let (model, steps) = fake_model(SIZE, hashed);
    let mut generator = Generator::new(model).unwrap();
    let long = "a".repeat(64);
    let mut narrow = greedy(1);
    narrow.limits.max_input_tokens = Some(10);
    let mut short = greedy(1);
    short.limits.max_length = Some(3);
    let mut refused = |prompt: Prompt, options: &GenerationOptions, message: &str| {
        let error = generator.generate(&prompt, options).unwrap_err();
        assert_eq!(error.to_string(), message);
    };
    refused(
        text(""),
        &greedy(1),
        "invalid prompt: it is empty, and the model has no beginning-of-sequence token to start from; pass at least one token",
    );
    refused(
        text(&long),
        &greedy(1),
        "context is 64 but the request needs at least 65; shorten the prompt or load the model with a longer context",
    );
    refused(
        text("abcdefghijk"),
        &narrow,
        "max_input_tokens is 10 but the request needs at least 11; shorten the prompt, raise max_input_tokens, or allow truncation",
    );
    refused(
        text("abc"),
        &short,
        "max_length is 3 but the request needs at least 4; shorten the prompt or raise max_length",
    );
    refused(text("a"), &greedy(0), "invalid max_new_tokens: 0 is not allowed; use at least 1");
    refused(
        Prompt::Tokens(vec![TokenId(31)]),
        &greedy(1),
        "invalid prompt: token 31 is not in the vocabulary of 31",
    );
    assert!(steps.lock().unwrap().is_empty());
}

#[test]
fn a_long_input_may_lose_its_head() {
    let mut options = seeded(1, 5);
    options.limits = Limits { max_input_tokens: Some(4), long_input: LongInput::KeepTail, ..options.limits };
    let mut generator = Generator::new(fake_model(SIZE, hashed).0).unwrap();
    let truncated = generator.generate(&text("abcdefghij"), &options).unwrap();
    assert_eq!(truncated.usage.truncated_tokens, 6);
    let tail = generator.generate(&text("ghij"), &seeded(1, 5)).unwrap();
    assert_eq!(truncated.tokens, tail.tokens);
}

#[test]
fn broken_logits_end_the_generation_with_an_error() {
    let broken = |history: &[TokenId]| {
        let mut logits = hashed(history);
        logits[5] = if history.len() > 3 { f32::NAN } else { 0.0 };
        logits
    };
    let mut generator = Generator::new(fake_model(SIZE, broken).0).unwrap();
    generator.generate(&text("a"), &greedy(1)).unwrap();
    let token_ids = generator.token_ids().to_vec();
    let error = generator.generate(&text("ab"), &greedy(10)).unwrap_err();
    assert!(matches!(error, Error::InvalidLogits { token: 5, position: 4, .. }), "{error}");
    assert_eq!(generator.token_ids(), token_ids, "a failed call leaves the tokens alone");
    let error = generator.score(&[TokenId(1); 6]).unwrap_err();
    assert!(matches!(error, Error::InvalidLogits { token: 5, position: 4, .. }), "{error}");
}

#[test]
fn scores_are_log_probabilities() {
    let mut generator = Generator::new(fake_model(SIZE, hashed).0).unwrap();
    let tokens: Vec<TokenId> = "some text to score".chars().map(token_of).collect();
    let scores = generator.score(&tokens).unwrap();
    assert_eq!(scores.len(), tokens.len() - 1);
    for (position, score) in scores.iter().enumerate() {
        let logits = hashed(&tokens[..=position]);
        let sum: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
        let expected = f64::from(logits[tokens[position + 1].0 as usize]) - sum.ln();
        assert!((score - expected).abs() < 1e-12, "position {position}: {score} and {expected}");
    }
}
