//! Memory planning: estimates the memory of many conversations, and shows that an engine rejects what does not fit.
#![expect(clippy::print_stdout, reason = "an example shows what it got")]

use sm_runtime::{ByteSize, Engine, EngineConfig, Error, KvCacheConfig, LoadError, ModelRef};

fn main() -> Result<(), Error> {
    let engine = Engine::builder().load(ModelRef::Demo)?;
    for (n_sequences, context_len) in [(1, 1024), (8, 1024), (100, 512)] {
        println!("{}\n", engine.memory_plan(n_sequences, context_len));
    }
    let limit = 64 << 20;
    let n_sequences = engine.memory_plan(1, 1024).max_sequences(limit);
    println!("{} hold {n_sequences} full contexts", ByteSize(limit));

    let cache = KvCacheConfig::new().max_bytes_total(1 << 20);
    let too_small = Engine::builder().config(EngineConfig::new().cache(cache));
    match too_small.load(ModelRef::Demo) {
        Err(error @ Error::Load(LoadError::InsufficientMemory { .. })) => println!("refused: {error}"),
        other => println!("unexpected: {other:?}"),
    }
    Ok(())
}
