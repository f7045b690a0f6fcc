//! What cannot be done is said with the numbers and the remedy.

use std::path::Path;

use sm_runtime::{
    CancelToken, Error, FinishReason, LimitedResource, LoadOptions, LoadedModel, Prompt, TokenId,
};

use crate::{data, generator, greedy};

fn load_error(path: &Path, options: &LoadOptions) -> Error {
    match LoadedModel::load(path, options, &|_| ()) {
        Err(error) => error,
        Ok(model) => panic!("{} loads: {model:?}", path.display()),
    }
}

#[test]
fn a_path_without_a_model_is_named() {
    let missing = Path::new("no/such/model.gguf");
    let message = load_error(missing, &LoadOptions::default()).to_string();
    assert!(message.contains("no/such/model.gguf"), "{message}");
}

#[test]
fn a_model_without_a_tokenizer_continues_tokens_but_no_text() {
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../sm-model/tests/data/arch/llama-gqa/model.gguf");
    let mut generator = generator(&fixture, &LoadOptions::default());
    let completion = generator.generate(&Prompt::Tokens(vec![TokenId(1), TokenId(2)]), &greedy(3)).unwrap();
    assert_eq!((completion.tokens.len(), completion.text.as_str()), (3, ""));
    let error = generator.generate(&Prompt::Text("some text".into()), &greedy(3)).unwrap_err();
    assert!(matches!(error, Error::NoTokenizer), "{error}");
    assert!(error.to_string().contains("tokenizer.json"), "{error}");
}

#[test]
fn impossible_load_options_are_refused() {
    let Some(path) = data("models/stories260K/hf") else { return };
    let default = LoadOptions::default;
    let cases = [
        (LoadOptions { context_len: Some(0), ..default() }, "context"),
        (LoadOptions { context_len: Some(100_000), ..default() }, "100000"),
        (LoadOptions { n_threads: Some(0), ..default() }, "n_threads"),
        (LoadOptions { max_step_tokens: 0, ..default() }, "max_step_tokens"),
        (LoadOptions { max_outputs: 0, ..default() }, "max_outputs"),
        (LoadOptions { n_sequences: 0, ..default() }, "n_sequences"),
        (LoadOptions { isa: Some("mmx".into()), ..default() }, "mmx"),
    ];
    for (options, part) in cases {
        let message = load_error(&path, &options).to_string();
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[test]
fn a_prompt_as_long_as_the_context_is_refused() {
    let Some(path) = data("models/stories260K/hf") else { return };
    let options = LoadOptions { context_len: Some(32), ..LoadOptions::default() };
    let mut generator = generator(&path, &options);
    let prompt = Prompt::Text("Once upon a time ".repeat(20));
    let error = generator.generate(&prompt, &greedy(5)).unwrap_err();
    assert!(
        matches!(error, Error::ResourceLimit { resource: LimitedResource::Context, limit: 32, actual: 33.. }),
        "{error}"
    );
    let completion = generator.generate(&Prompt::Text("Once upon a time".into()), &greedy(500)).unwrap();
    assert_eq!(completion.finish_reason, FinishReason::ContextLimit);
    assert_eq!(completion.prompt_tokens.len() + completion.tokens.len(), 32);
}

#[test]
fn an_input_limit_is_an_error_that_carries_the_numbers() {
    let Some(path) = data("models/stories260K/hf") else { return };
    let mut options = greedy(5);
    options.limits.max_input_tokens = Some(10);
    let prompt = Prompt::Text("One day, Tim and his dog went to the big forest".into());
    let error = generator(&path, &LoadOptions::default()).generate(&prompt, &options).unwrap_err();
    let is_limit = matches!(
        error,
        Error::ResourceLimit { resource: LimitedResource::InputTokens, limit: 10, actual: 18 }
    );
    assert!(is_limit, "{error}");
}

#[test]
fn cancelling_keeps_what_was_said_and_the_generator_usable() {
    let Some(path) = data("models/stories260K/hf") else { return };
    let mut generator = generator(&path, &LoadOptions::default());
    let prompt = Prompt::Text("Once upon a time".into());
    let whole = generator.generate(&prompt, &greedy(20)).unwrap();
    let (options, cancel) = (greedy(20), CancelToken::new());
    let mut generation = generator.stream(&prompt, &options, &cancel).unwrap();
    let mut text = String::new();
    while let Some(event) = generation.next_event().unwrap() {
        text.push_str(&event.text);
        if event.index == 4 {
            cancel.cancel();
        }
    }
    let cut = generation.finish();
    assert_eq!((cut.finish_reason, cut.tokens.len()), (FinishReason::Cancelled, 5));
    assert_eq!(cut.text, text);
    assert!(whole.text.starts_with(&cut.text));
    assert_eq!(generator.generate(&prompt, &greedy(20)).unwrap().text, whole.text);
}
