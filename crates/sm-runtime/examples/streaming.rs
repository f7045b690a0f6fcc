//! Text as it grows, in the chat template of the model.
#![expect(clippy::print_stdout, reason = "an example shows what it got")]

use std::io::Write;

use sm_runtime::model::chat::{ChatRequest, Message};
use sm_runtime::{Engine, GenerationOptions, ModelRef, Prompt, Request};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::builder().load(ModelRef::Demo)?;
    let messages = [Message::new("user", "Solve for x: 2x + 3 = 9")];
    let template = engine.chat_template().map_err(ToString::to_string)?;
    let prompt = Prompt::Chat(template.render(&ChatRequest::new(&messages))?);
    let mut stream = engine.stream(Request::new(prompt, GenerationOptions::greedy()))?;
    while let Some(event) = stream.next_blocking() {
        let event = event?;
        print!("{}", event.text);
        std::io::stdout().flush()?;
        if let Some(reason) = event.finish_reason {
            println!("\n[{reason}]");
        }
    }
    Ok(())
}
