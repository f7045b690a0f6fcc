//! Guesses change how many steps there are, and nothing else.

use sm_tensor::TokenId;

use super::{SIZE, always, config, drafted, request};
use crate::testing::{FakeSize, failing, fake_model, hashed, mostly_recent, recent, scripted, token_of};
use crate::{Engine, EngineConfig, Error, Generator, LoadError, LoadedModel, Request, SpeculationConfig};

const SCRIPT: &str = "the cat sat on the mat. ";

fn looking_up() -> EngineConfig {
    EngineConfig { speculation: SpeculationConfig { lookup: true, max_draft_len: 8 }, ..config() }
}

fn model(predict: impl Fn(&[TokenId]) -> Vec<f32> + Send + 'static) -> LoadedModel {
    fake_model(SIZE, predict).0
}

fn alone(request: &Request, predict: impl Fn(&[TokenId]) -> Vec<f32> + Send + 'static) -> Vec<TokenId> {
    let model = fake_model(FakeSize { n_sequences: 1, ..SIZE }, predict).0;
    Generator::new(model).unwrap().generate(&request.prompt, &request.options).unwrap().tokens
}

#[test]
fn text_that_repeats_itself_takes_fewer_steps() {
    let engine = Engine::start(model(scripted(SCRIPT)), looking_up()).unwrap();
    let request = request(SCRIPT, 1, 38);
    let completion = engine.generate(request.prompt.clone(), &request.options).unwrap();
    assert_eq!(completion.tokens, alone(&request, scripted(SCRIPT)));
    let stats = engine.stats().speculation;
    // How many guesses pay is a matter of times; that those of the first steps are made is not.
    assert!(stats.accepted > 0 && stats.acceptance() > 0.4, "{stats:?}");
    assert_eq!(stats.accepted_at.iter().sum::<u64>(), stats.accepted);
    let usage = completion.usage;
    assert_eq!((usage.drafted_tokens as u64, usage.accepted_tokens as u64), (stats.drafted, stats.accepted));
}

#[test]
fn a_request_can_refuse_guesses() {
    let engine = Engine::start(model(scripted(SCRIPT)), looking_up()).unwrap();
    let request = Request { speculate: false, ..request(SCRIPT, 1, 30) };
    let completions = engine.submit(request).unwrap().wait().unwrap();
    assert_eq!(completions[0].usage.drafted_tokens, 0);
}

#[test]
fn a_draft_model_that_thinks_alike_is_always_right() {
    let engine = drafted(model(hashed), model(hashed), config()).unwrap();
    for seed in 0..5 {
        let request = request("once upon", seed, 40);
        let completion = engine.generate(request.prompt.clone(), &request.options).unwrap();
        assert_eq!(completion.tokens, alone(&request, hashed));
        assert_eq!(completion.usage.accepted_tokens, completion.usage.drafted_tokens);
        assert!(completion.usage.drafted_tokens > 0 && completion.usage.tokens_per_step() > 1.0);
    }
}

#[test]
fn sequences_beyond_the_room_of_the_draft_model_get_the_same() {
    let small = FakeSize { context_len: 32, max_tokens: 5, n_sequences: 2 };
    let draft = fake_model(small, recent).0;
    let engine = drafted(model(mostly_recent), draft, config()).unwrap();
    let requests: Vec<Request> = (0..4).map(|seed| request("a b c d e f", seed, 40)).collect();
    let handles: Vec<_> = requests.iter().map(|request| engine.submit(request.clone()).unwrap()).collect();
    for (request, handle) in requests.iter().zip(handles) {
        assert_eq!(handle.wait().unwrap()[0].tokens, alone(request, mostly_recent));
    }
    let stats = engine.stats().speculation;
    assert!(stats.accepted > 0 && stats.accepted < stats.drafted, "{stats:?}");
}

#[test]
fn a_draft_model_that_fails_is_done_without() {
    let draft = failing(model(hashed), token_of('x'));
    let engine = drafted(model(hashed), draft, config()).unwrap();
    let request = request("xyz", 3, 30);
    let completion = engine.generate(request.prompt.clone(), &request.options).unwrap();
    assert_eq!(completion.tokens, alone(&request, hashed));
    assert!(engine.stats().speculation.failed > 0);
}

#[test]
fn a_draft_model_with_other_tokens_is_refused() {
    let mut draft = model(hashed);
    draft.text = crate::text::Text::new(None);
    draft.vocab_size += 1;
    match drafted(model(hashed), draft, config()) {
        Err(error @ Error::Load(LoadError::DraftVocabulary { .. })) => {
            assert_eq!(
                error.to_string(),
                "the draft model has 32 tokens and the model 31; both must have the same vocabulary"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn impossible_lengths_are_refused() {
    for max_draft_len in [0, 17] {
        let speculation = SpeculationConfig { lookup: true, max_draft_len };
        let started = Engine::start(model(always('a')), EngineConfig { speculation, ..config() });
        assert!(matches!(started, Err(Error::Validation { field: "max_draft_len", .. })), "{max_draft_len}");
    }
}
