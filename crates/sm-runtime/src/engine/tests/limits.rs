//! How long prompts, outputs and both together may be.

use std::sync::Arc;

use sm_model::metadata::{Array, Metadata, Value};
use sm_model::tokenizer::GgufTokenizer;
use sm_tensor::TokenId;

use super::{SIZE, config, engine_of, request, seeded, text, transcript};
use crate::testing::{SIZE_OF_VOCABULARY, fake_model, hashed};
use crate::text::Text;
use crate::{
    EosRule, Error, FinishReason, LimitedResource, LongInput, Prompt, Request, SessionId, SessionMode,
};

const BOS: TokenId = TokenId(1);

/// A token for each letter, and one that begins every prompt.
fn with_bos() -> GgufTokenizer {
    let letters = ('a'..='z').chain(['.', '!']).map(String::from);
    let tokens: Vec<String> =
        ["<unk>", "<s>", "</s>"].map(str::to_owned).into_iter().chain(letters).collect();
    let types = (0..tokens.len()).map(|id| [2, 3, 3].get(id).copied().unwrap_or(1)).collect();
    let scores = vec![0.0; tokens.len()];
    assert_eq!(tokens.len(), SIZE_OF_VOCABULARY);
    let mut metadata = Metadata::default();
    for (key, value) in [
        ("model", Value::String("llama".to_owned())),
        ("tokens", Value::Array(Array::String(tokens))),
        ("token_type", Value::Array(Array::I32(types))),
        ("scores", Value::Array(Array::F32(scores))),
        ("add_space_prefix", Value::Bool(false)),
    ] {
        metadata.insert(format!("tokenizer.ggml.{key}"), value);
    }
    GgufTokenizer::from_metadata(&metadata).unwrap()
}

fn letters(letters: &str) -> Vec<TokenId> {
    letters.bytes().map(|letter| TokenId(u32::from(letter - b'a') + 3)).collect()
}

/// At most five tokens of the prompt, the last ones.
fn cut(prompt: Prompt) -> Request {
    let mut options = seeded(4, 8);
    options.stop.eos = EosRule::Ignore;
    options.limits.max_input_tokens = Some(5);
    options.limits.long_input = LongInput::KeepTail;
    Request::new(prompt, options)
}

#[test]
fn a_prompt_that_is_cut_still_begins_a_sequence() {
    let mut model = fake_model(SIZE, hashed).0;
    model.text = Text::new(Some(Arc::new(with_bos())));
    let engine = crate::Engine::start(model, config()).unwrap();
    let run = |prompt: Prompt| engine.submit(cut(prompt)).unwrap().wait().unwrap().swap_remove(0);
    let kept = [&[BOS], &letters("ghij")[..]].concat();
    let completion = run(text("abcdefghij"));
    assert_eq!((&completion.prompt_tokens, completion.usage.truncated_tokens), (&kept, 6));
    let whole = run(Prompt::Tokens(kept));
    assert_eq!((whole.usage.truncated_tokens, &whole.tokens), (0, &completion.tokens));
    let short = run(text("abcd"));
    assert_eq!((short.prompt_tokens.len(), short.usage.truncated_tokens), (5, 0));
    // Tokens that begin no sequence lose their head and nothing is put before them.
    let tail = run(Prompt::Tokens(letters("abcdefghij")));
    assert_eq!((&tail.prompt_tokens, tail.usage.truncated_tokens), (&letters("fghij"), 5));
}

#[test]
fn a_prompt_that_cannot_fit_is_refused_before_all_of_it_is_tokenized() {
    let mut model = fake_model(SIZE, hashed).0;
    model.text = Text::new(Some(Arc::new(with_bos())));
    let engine = crate::Engine::start(model, config()).unwrap();
    let long = "a".repeat(1 << 20);
    let mut by_input = seeded(1, 4);
    by_input.limits.max_input_tokens = Some(5);
    let mut by_length = seeded(1, 4);
    by_length.limits.max_length = Some(9);
    for (options, resource, limit) in [
        (seeded(1, 4), LimitedResource::Context, SIZE.context_len),
        (by_input, LimitedResource::InputTokens, 5),
        (by_length, LimitedResource::TotalLength, 9),
    ] {
        let append = Request::new(Prompt::Append(long.clone()), options.clone());
        let requests =
            [text(&long), Prompt::Chat(long.clone())].map(|prompt| Request::new(prompt, options.clone()));
        let in_session = append.session(SessionId::new_id(), SessionMode::Append);
        for request in requests.into_iter().chain([in_session]) {
            let refused = engine.submit(request).map(|_| ());
            let Err(Error::ResourceLimit { resource: found, limit: of, actual }) = refused else {
                panic!("{refused:?}")
            };
            // Had it been tokenized whole, it would need a million.
            assert_eq!((found, of), (resource, limit as u64));
            assert!(actual > of && actual <= of + 2, "{actual}");
        }
    }
}

#[test]
fn a_conversation_that_would_be_cut_is_refused_and_stays_what_it_was() {
    let engine = engine_of(hashed);
    let session = engine.session("talk").unwrap();
    let first = session.generate("abc", &seeded(1, 10)).unwrap();
    let before = engine.stats();
    let refused = session.submit(Prompt::Append("def".into()), cut(text("")).options).unwrap().wait();
    assert!(matches!(refused, Err(Error::Validation { field: "max_input_tokens", .. })), "{refused:?}");
    let after = engine.stats();
    assert_eq!((after.batching, after.cache), (before.batching, before.cache));
    let second = session.generate("def", &seeded(2, 10)).unwrap();
    let new = &second.prompt_tokens[second.prompt_tokens.len() - 3..];
    assert_eq!(second.prompt_tokens, [&first.prompt_tokens[..], &first.tokens, new].concat());
    assert_eq!(second.usage.cached_tokens, first.prompt_tokens.len() + first.tokens.len() - 1);
    // Whoever sends the whole conversation may have its head cut off.
    let whole = engine.session(transcript("whole")).unwrap();
    let completions = whole.submit(text("abcdefghij"), cut(text("")).options).unwrap().wait().unwrap();
    assert_eq!((completions[0].prompt_tokens.len(), completions[0].usage.truncated_tokens), (5, 5));
}

#[test]
fn prompt_and_output_fill_the_context_and_no_more() {
    let engine = engine_of(hashed);
    for context_len in [SIZE.context_len, 40] {
        for n_prompt in [1, 17, 39] {
            let room = context_len - n_prompt;
            for (n_asked, reason) in [
                (room - 1, FinishReason::Length),
                (room, FinishReason::Length),
                (room + 1, FinishReason::ContextLimit),
                (1000, FinishReason::ContextLimit),
            ] {
                let mut request = request(&"x".repeat(n_prompt), 3, n_asked.max(1));
                request.options.limits.max_context_tokens = Some(context_len);
                let completion = engine.submit(request).unwrap().wait().unwrap().swap_remove(0);
                let expected = (n_asked.clamp(1, room), reason);
                assert_eq!((completion.tokens.len(), completion.finish_reason), expected, "{n_prompt}");
            }
        }
    }
    let session = engine.session("talk").unwrap();
    session.generate("hello", &seeded(1, 20)).unwrap();
    let last = session.generate(" and on", &seeded(2, 1000)).unwrap();
    assert_eq!(last.prompt_tokens.len() + last.tokens.len(), SIZE.context_len);
    assert_eq!(last.finish_reason, FinishReason::ContextLimit);
}
