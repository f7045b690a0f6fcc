//! Many concurrent requests with priorities: they share steps, and each gets the tokens it would get alone.
#![expect(clippy::print_stdout, reason = "an example shows what it got")]

use sm_runtime::{Engine, GenerationOptions, ModelRef, Preset, Priority, Prompt, Request};

fn main() -> Result<(), sm_runtime::Error> {
    let engine = Engine::builder().preset(Preset::Throughput).load(ModelRef::Demo)?;
    let prompts =
        ["Once upon a time", "The quick brown fox", "In a distant galaxy", "The secret to happiness"];
    let request = |(seed, prompt): (usize, &&str)| {
        let options = GenerationOptions::new().seed(seed as u64).max_new_tokens(60);
        let priority = if seed == 0 { Priority::High } else { Priority::Normal };
        Request::new(Prompt::Text((*prompt).to_owned()), options).priority(priority)
    };
    let together = prompts.iter().enumerate().map(|each| engine.submit(request(each)));
    let together: Vec<_> = together.collect::<Result<_, _>>()?;
    for (each, handle) in prompts.iter().enumerate().zip(together) {
        let completion = handle.wait()?.swap_remove(0);
        let alone = engine.submit(request(each))?.wait()?.swap_remove(0);
        assert_eq!(completion.tokens, alone.tokens, "the same request gives the same tokens");
        println!("{}{}\n", each.1, completion.text);
    }
    let stats = engine.stats();
    println!("[{:.1} sequences per step]", stats.average_batch_size());
    Ok(())
}
