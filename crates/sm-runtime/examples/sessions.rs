//! A session: the second call sends and computes only new text.
#![expect(clippy::print_stdout, reason = "an example shows what it got")]

use sm_runtime::{Engine, GenerationOptions, ModelRef};

fn main() -> Result<(), sm_runtime::Error> {
    let engine = Engine::builder().load(ModelRef::Demo)?;
    let session = engine.session("a story")?;
    let options = GenerationOptions::new().seed(7).max_new_tokens(40);
    let first = session.generate("Once upon a time", &options)?;
    let second = session.generate(" Suddenly,", &options)?;
    println!("Once upon a time{} Suddenly,{}", first.text, second.text);
    println!("[{} of {} tokens were cached]", second.usage.cached_tokens, second.usage.prompt_tokens);
    session.forget()
}
