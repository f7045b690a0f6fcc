//! A chat answer, printed as it is generated.
#![expect(clippy::print_stdout, reason = "an example shows what it got")]

use std::io::Write;

use sm_runtime::{ChatRequest, Engine, GenerationOptions, ModelRef, Request};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::builder().load(ModelRef::Demo)?;
    let chat = ChatRequest::new().user("Solve for x: 2x + 3 = 9");
    let mut stream = engine.stream(Request::new(chat.into(), GenerationOptions::greedy()))?;
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
