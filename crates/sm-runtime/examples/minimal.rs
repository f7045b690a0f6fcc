//! The shortest way to a text: the demo model, one prompt.
#![expect(clippy::print_stdout, reason = "an example shows what it got")]

use sm_runtime::{Engine, GenerationOptions, ModelRef, Prompt};

fn main() -> Result<(), sm_runtime::Error> {
    let engine = Engine::builder().load(ModelRef::Demo)?;
    let prompt = Prompt::Text("Once upon a time".to_owned());
    let completion = engine.generate(prompt, &GenerationOptions::default())?;
    println!("Once upon a time{} [seed {}]", completion.text, completion.seed);
    Ok(())
}
