//! Grammars: the text is what they describe, and they concern nobody else.

use super::{alone, config, engine_of, request, seeded, text};
use crate::testing::{SIZE_OF_VOCABULARY, fake_model, hashed, token_of};
use crate::{
    Engine, EngineConfig, EosRule, Error, FinishReason, GenerationOptions, Grammar, GrammarLimits, Request,
    SamplingOptions, StopRules,
};

fn within(grammar: Grammar, seed: u64, max_new_tokens: usize) -> Request {
    let mut request = request("say", seed, max_new_tokens);
    request.options.grammar = Some(grammar);
    request
}

fn regex(expression: &str) -> Grammar {
    Grammar::Regex(expression.to_owned())
}

#[test]
fn a_regular_expression_shapes_the_text() {
    let engine = engine_of(hashed);
    for seed in 0..20 {
        let request = within(regex("(yes|no)[!.]"), seed, 30);
        let completion = engine.generate(request.prompt.clone(), &request.options).unwrap();
        assert!(["yes!", "yes.", "no!", "no."].contains(&completion.text.as_str()), "{}", completion.text);
        assert_eq!(completion.finish_reason, FinishReason::Complete);
        let expected = alone(&request);
        assert_eq!((completion.tokens, completion.finish_reason), (expected.tokens, expected.finish_reason));
    }
}

#[test]
fn a_regular_expression_may_have_anchors() {
    let engine = engine_of(hashed);
    for (expression, texts) in [("^ab!$", ["ab!", "ab!"]), ("^a!|b!$", ["a!", "b!"])] {
        let completion = engine.submit(within(regex(expression), 2, 9)).unwrap().wait().unwrap();
        assert!(texts.contains(&completion[0].text.as_str()), "{expression}: {}", completion[0].text);
    }
    assert!(engine.submit(within(regex("a^b"), 2, 9)).is_err());
}

#[test]
fn what_repeats_without_end_ends_by_its_length() {
    let engine = engine_of(hashed);
    let request = within(regex("(ab)+"), 3, 9);
    let completion = engine.generate(request.prompt.clone(), &request.options).unwrap();
    assert_eq!((completion.text.as_str(), completion.finish_reason), ("ababababa", FinishReason::Length));
}

#[test]
fn a_context_free_grammar_nests() {
    let engine = engine_of(hashed);
    let grammar = Grammar::Lark("start: \"a\" start \"b\" | \"!\"".to_owned());
    for seed in 0..10 {
        let request = within(grammar.clone(), seed, 40);
        let completion = engine.generate(request.prompt.clone(), &request.options).unwrap();
        if completion.finish_reason == FinishReason::Complete {
            let (before, after) = completion.text.split_once('!').unwrap();
            assert!(before.chars().all(|c| c == 'a') && after.chars().all(|c| c == 'b'));
            assert_eq!(before.len(), after.len(), "{}", completion.text);
        }
    }
}

#[test]
fn a_bad_grammar_fails_its_request_before_any_work() {
    let engine = engine_of(hashed);
    for grammar in [
        regex("(unclosed"),
        Grammar::Lark("start: nowhere".to_owned()),
        Grammar::JsonSchema("{".to_owned()),
        Grammar::JsonSchema("{\"type\": \"nonsense\"}".to_owned()),
    ] {
        match engine.submit(within(grammar.clone(), 1, 5)) {
            Err(Error::Grammar { message }) => assert!(!message.is_empty()),
            other => panic!("{grammar:?}: {other:?}"),
        }
    }
    let mut request = within(regex("a+"), 1, 5);
    request.options.stop = StopRules { eos: EosRule::Ignore, ..StopRules::default() };
    assert!(matches!(engine.submit(request), Err(Error::Validation { field: "ignore_eos", .. })));
    assert_eq!(engine.stats().batching.steps, 0);
}

/// A grammar of `n` rules, each of which leads to the next.
fn chain(n: usize) -> Grammar {
    let rules: String = (0..n).map(|i| format!("r{i}: \"a\" r{}\n", i + 1)).collect();
    Grammar::Lark(format!("start: r0\n{rules}r{n}: \"a\""))
}

#[test]
fn grammars_are_compiled_within_sizes_and_a_time() {
    // A busy machine may take any time.
    let patient = EngineConfig { grammar: GrammarLimits::new().max_compile_ms(600_000), ..config() };
    let engine = Engine::start(fake_model(super::SIZE, hashed).0, patient).unwrap();
    let completion = engine.submit(within(chain(5_000), 1, 5)).unwrap().wait().unwrap();
    assert_eq!(completion[0].text, "aaaaa");
    let refusal = |engine: &Engine, grammar: Grammar| match engine.submit(within(grammar, 1, 5)) {
        Err(Error::Grammar { message }) => message,
        other => panic!("{other:?}"),
    };
    let message = refusal(&engine, chain(20_000));
    assert!(message.contains("20002 rules") && message.contains("10000"), "{message}");
    let message = refusal(&engine, regex(&"a".repeat(2 << 20)));
    assert!(message.contains("2097152 bytes") && message.contains("1048576"), "{message}");
    let hurried = EngineConfig { grammar: GrammarLimits::new().max_compile_ms(1), ..config() };
    let hurried = Engine::start(fake_model(super::SIZE, hashed).0, hurried).unwrap();
    let message = refusal(&hurried, chain(5_000));
    assert!(message.contains("more than 1 ms"), "{message}");
}

#[test]
fn texts_of_grammars_may_begin_with_a_byte_order_mark() {
    let engine = engine_of(hashed);
    for grammar in [Grammar::of_text("\u{feff}start: \"a!\""), Grammar::of_text("\u{feff}root ::= \"a!\"")] {
        let completion = engine.submit(within(grammar, 1, 5)).unwrap().wait().unwrap();
        assert_eq!(completion[0].text, "a!");
    }
}

#[test]
fn a_grammar_that_the_vocabulary_cannot_spell_fails_alone() {
    let engine = engine_of(hashed);
    let other = request("abc", 7, 20);
    let handle = engine.submit(other.clone()).unwrap();
    match engine.submit(within(regex("[0-9]+"), 1, 5)).and_then(crate::RequestHandle::wait) {
        Err(Error::Grammar { .. } | Error::NoCandidates { .. }) => {}
        unexpected => panic!("{unexpected:?}"),
    }
    assert_eq!(handle.wait().unwrap()[0].tokens, alone(&other).tokens);
}

#[test]
fn candidates_walk_through_the_grammar_each_for_itself() {
    let engine = Engine::start(fake_model(super::SIZE, hashed).0, config()).unwrap();
    let request = Request { n: 3, ..within(regex("[a-z]{4}[.!]"), 5, 20) };
    let completions = engine.submit(request).unwrap().wait().unwrap();
    for completion in &completions {
        assert_eq!((completion.text.len(), completion.finish_reason), (5, FinishReason::Complete));
    }
    assert_ne!(completions[0].text, completions[1].text);
}

#[test]
fn only_allowed_tokens_are_sampled() {
    let engine = engine_of(hashed);
    let mut options = seeded(4, 30);
    options.sampling.allowed_tokens = Some(vec![token_of('b'), token_of('a'), token_of(' ')]);
    let completion = engine.generate(text("say"), &options).unwrap();
    assert!(completion.text.chars().all(|c| "ab ".contains(c)), "{}", completion.text);
}

#[test]
fn bad_words_do_not_appear() {
    let engine = engine_of(hashed);
    let options = |bad_words: Vec<String>| GenerationOptions {
        sampling: SamplingOptions {
            allowed_tokens: Some(['a', 'b', ' '].map(token_of).to_vec()),
            bad_words,
            ..seeded(9, 50).sampling
        },
        ..seeded(9, 50)
    };
    let free = engine.generate(text("say"), &options(Vec::new())).unwrap().text;
    assert!(free.contains("ab"), "{free}");
    let bound = engine.generate(text("say"), &options(vec!["ab".into(), "bb".into()])).unwrap().text;
    assert!(!bound.contains("ab") && !bound.contains("bb"), "{bound}");
}

#[test]
fn tokens_outside_of_the_vocabulary_are_refused() {
    let engine = engine_of(hashed);
    let outside = sm_tensor::TokenId(SIZE_OF_VOCABULARY as u32);
    let mut options = seeded(1, 5);
    options.sampling.allowed_tokens = Some(vec![outside]);
    match engine.generate(text("say"), &options) {
        Err(error @ Error::Validation { field: "allowed_tokens", .. }) => {
            assert!(error.to_string().contains("not in the vocabulary of 31"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}
