//! Messages: rendered for the engine, whole or behind what a session holds.

use sm_cache::SessionMode;
use sm_model::chat::ChatTemplate;
use sm_tensor::TokenId;

use super::{SIZE, config, seeded};
use crate::testing::{fake_model, hashed};
use crate::{ChatRequest, Engine, Error, Generator, LoadedModel, Prompt, SessionOptions};

/// A template of the fake model's characters.
const TEMPLATE: &str = "{% for m in messages %}{{ m.role[:1] }} {{ m.content }}!\n{% endfor %}\
                        {% if add_generation_prompt %}a {% endif %}";

fn model(source: &str) -> LoadedModel {
    let template = ChatTemplate::new(source, serde_json::Map::new()).unwrap();
    fake_model(SIZE, hashed).0.with_chat_template(template)
}

/// The tokens of a conversation that nobody has seen before.
fn render_alone(request: ChatRequest) -> Vec<TokenId> {
    let completion = Generator::new(model(TEMPLATE)).unwrap().generate(&request.into(), &seeded(0, 1));
    completion.unwrap().prompt_tokens
}

#[test]
fn sessions_of_both_modes_compute_the_whole_render() {
    let engine = Engine::start(model(TEMPLATE), config()).unwrap();
    for mode in [SessionMode::Append, SessionMode::Prefix] {
        let session = engine.session(SessionOptions::private().mode(mode)).unwrap();
        let mut asked = ChatRequest::new();
        for (turn, question) in ["hi", "and then", "why"].into_iter().enumerate() {
            asked = asked.user(question);
            let request = match mode {
                SessionMode::Append => ChatRequest::new().user(question),
                SessionMode::Prefix => asked.clone(),
            };
            let completion =
                session.submit(request.into(), seeded(turn as u64, 4)).unwrap().wait().unwrap().remove(0);
            assert_eq!(completion.prompt_tokens, render_alone(asked.clone()), "{mode:?} {turn}");
            assert_eq!(completion.usage.cached_tokens > 0, turn > 0, "{mode:?} {turn}");
            asked = asked.assistant(&completion.text);
        }
    }
}

#[test]
fn a_template_that_cannot_append_fails_only_where_there_is_something_to_append_to() {
    let engine = Engine::start(model("{{ messages[-1].content }}"), config()).unwrap();
    let session = engine.session(SessionOptions::private()).unwrap();
    let ask = || session.submit(ChatRequest::new().user("hi").into(), seeded(1, 2)).unwrap().wait();
    assert_eq!(ask().unwrap()[0].prompt_tokens.len(), 2);
    let error = ask().unwrap_err();
    assert!(matches!(&error, Error::Validation { field: "messages", .. }), "{error}");
    session.forget().unwrap();
    ask().unwrap();
}

#[test]
fn messages_without_a_template_are_refused_with_the_remedy() {
    let engine = Engine::start(fake_model(SIZE, hashed).0, config()).unwrap();
    let prompt = || Prompt::from(ChatRequest::new().user("hi"));
    let error = engine.generate(prompt(), &seeded(1, 2)).unwrap_err();
    assert!(matches!(error, Error::Chat(_)) && error.to_string().contains("chat_template.jinja"), "{error}");
    engine.generate("hi".into(), &seeded(1, 2)).unwrap();
}

#[test]
fn an_echoed_chat_is_its_render() {
    let engine = Engine::start(model(TEMPLATE), config()).unwrap();
    let request = ChatRequest::new().user("hi").assistant("he").continue_final_message(true);
    let mut options = seeded(1, 2);
    options.echo = true;
    let completion = engine.generate(request.into(), &options).unwrap();
    assert!(completion.text.starts_with("u hi!\na he"), "{}", completion.text);
}
