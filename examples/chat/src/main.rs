//! A conversation with the demo model: one question per line of standard input, streamed answers.
#![expect(clippy::print_stdout, reason = "an example shows what it got")]

use std::error::Error;
use std::io::{self, Write};

use sm_runtime::model::chat::{ChatRequest, Message};
use sm_runtime::{Engine, GenerationOptions, ModelRef, Prompt, Request};

fn main() -> Result<(), Box<dyn Error>> {
    let engine = Engine::builder().load(ModelRef::Demo)?;
    let template = engine.chat_template().map_err(ToString::to_string)?;
    let options = GenerationOptions::greedy();

    let mut messages = Vec::new();
    for line in io::stdin().lines() {
        messages.push(Message::new("user", &line?));
        // The engine still has the keys and values of earlier turns.
        let prompt = Prompt::Chat(template.render(&ChatRequest::new(&messages))?);
        let mut answer = String::new();
        let mut stream = engine.stream(Request::new(prompt, options.clone()))?;
        while let Some(event) = stream.next_blocking() {
            let event = event?;
            print!("{}", event.text);
            io::stdout().flush()?;
            answer.push_str(&event.text);
        }
        println!();
        messages.push(Message::new("assistant", &answer));
    }
    Ok(())
}
