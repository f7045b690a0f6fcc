//! Chat templates: an error or a text, within bounded time and stack.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Map;
use sm_model::chat::{ChatRequest, ChatTemplate, Message};

fuzz_target!(|template: &str| {
    let Ok(template) = ChatTemplate::new(template, Map::new()) else { return };
    let messages = [Message::new("system", "Be brief."), Message::new("user", "Hello, \"you\"!")];
    if let Ok(text) = template.render(&ChatRequest::new(&messages)) {
        std::hint::black_box(text);
    }
});
