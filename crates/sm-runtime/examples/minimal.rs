//! The shortest program: the demo model and one prompt.
#![expect(clippy::print_stdout, reason = "an example shows what it got")]

use sm_runtime::{Engine, GenerationOptions, ModelRef};

fn main() -> Result<(), sm_runtime::Error> {
    let engine = Engine::builder().load(ModelRef::Demo)?;
    let completion = engine.generate("Once upon a time".into(), &GenerationOptions::default())?;
    println!("Once upon a time{} [seed {}]", completion.text, completion.seed);
    Ok(())
}
