//! Refusals carry the numbers and the remedy.

use std::path::Path;

use sm_runtime::{
    CancelToken, Device, Error, ExecutorOptions, FinishReason, LimitedResource, LoadOptions, Loader, Prompt,
    TokenId,
};

use crate::{Setup, data, generator, greedy};

fn load_error(path: &Path, load: LoadOptions, executor: ExecutorOptions) -> Error {
    match Loader::new(path).options(load).executor(executor).load() {
        Err(error) => error,
        Ok(model) => panic!("{} loads: {model:?}", path.display()),
    }
}

#[test]
fn a_path_without_a_model_is_named() {
    let missing = Path::new("no/such/model.gguf");
    let message = load_error(missing, LoadOptions::new(), ExecutorOptions::new()).to_string();
    assert!(message.contains("no/such/model.gguf"), "{message}");
}

#[test]
fn a_model_without_a_tokenizer_continues_tokens_but_no_text() {
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../sm-model/tests/data/arch/llama-gqa/model.gguf");
    let mut generator = generator(&fixture, &Setup::default());
    let completion = generator.generate(&Prompt::Tokens(vec![TokenId(1), TokenId(2)]), &greedy(3)).unwrap();
    assert_eq!((completion.tokens.len(), completion.text.as_str()), (3, ""));
    let error = generator.generate(&Prompt::Text("some text".into()), &greedy(3)).unwrap_err();
    assert!(matches!(error, Error::NoTokenizer), "{error}");
    assert!(error.to_string().contains("tokenizer.json"), "{error}");
}

#[test]
fn impossible_load_options_are_refused() {
    let Some(path) = data("models/stories260K/hf") else { return };
    let load = LoadOptions::new;
    let executor = ExecutorOptions::new;
    let cases = [
        (load().context_len(0), executor(), "context"),
        (load().context_len(100_000), executor(), "100000"),
        (load().device(Device::cpu_threads(0)), executor(), "threads"),
        (load().device("cpu:mmx".parse().unwrap()), executor(), "mmx"),
        (load().device(Device::Gpu(99)), executor(), "no GPU"),
        (load(), executor().max_step_tokens(0), "max_step_tokens"),
        (load(), executor().max_outputs(0), "max_outputs"),
        (load(), executor().n_sequences(0), "n_sequences"),
    ];
    for (load, executor, part) in cases {
        let message = load_error(&path, load, executor).to_string();
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[test]
fn a_prompt_as_long_as_the_context_is_refused() {
    let Some(path) = data("models/stories260K/hf") else { return };
    let setup = Setup { load: LoadOptions::new().context_len(32), ..Setup::default() };
    let mut generator = generator(&path, &setup);
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
    let error = generator(&path, &Setup::default()).generate(&prompt, &options).unwrap_err();
    let is_limit = matches!(
        error,
        Error::ResourceLimit { resource: LimitedResource::InputTokens, limit: 10, actual: 11 }
    );
    assert!(is_limit, "{error}");
}

#[test]
fn cancelling_keeps_what_was_said_and_the_generator_usable() {
    let Some(path) = data("models/stories260K/hf") else { return };
    let mut generator = generator(&path, &Setup::default());
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
