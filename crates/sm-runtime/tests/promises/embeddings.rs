//! Embeddings: those of the reference, and the same bits whatever runs beside a text.

use std::path::Path;

use serde_json::Value;
use sm_runtime::{
    DType, Embedding, Engine, EngineConfig, ExecutorOptions, GenerationOptions, KvDType, Loader, ModelRef,
    Pooling, Prompt, Request, TokenId,
};

use crate::one_thread;

/// `transformers` computes in single precision with the dequantized weights of the file.
#[test]
fn the_shipped_models_embed_as_the_reference_does() {
    for (name, model) in [("demo", ModelRef::Demo), ("draft", ModelRef::DemoDraft)] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sm-model/tests/data/demo").join(name);
        let expected = std::fs::read(file.join("embeddings.json")).unwrap();
        let expected: Value = serde_json::from_slice(&expected).unwrap();
        let ids = expected["input_ids"].as_array().unwrap().iter();
        let ids: Vec<TokenId> = ids.map(|id| TokenId(id.as_u64().unwrap() as u32)).collect();
        let executor = ExecutorOptions::new().kv_dtype(KvDType::F32).pool_bytes(16 << 20);
        let loader = Loader::new(model).options(one_thread().quant(DType::F32)).executor(executor.clone());
        let engine = Engine::start(loader.load().unwrap(), EngineConfig::new().executor(executor)).unwrap();
        for (pooling, key) in [(Pooling::Mean, "mean"), (Pooling::Last, "last")] {
            let embedding = engine.embed(Prompt::Tokens(ids.clone()), pooling).unwrap().wait().unwrap();
            assert_eq!(embedding.n_tokens, ids.len());
            let expected: Vec<f64> =
                expected[key].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
            assert_eq!(embedding.values.len(), expected.len());
            let norm =
                |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
            let pairs = embedding.values.iter().zip(&expected);
            let error = norm(&mut pairs.map(|(value, expected)| f64::from(*value) - expected))
                / norm(&mut expected.iter().copied());
            println!("{name}, {key}: relative error {error:.1e}");
            assert!(error < 1e-5, "{name}, {key}: {error:e}");
        }
    }
}

fn texts() -> Vec<String> {
    let words = ["once", "upon", "a", "time", "there", "was", "cat", "17", "+", "25"];
    (1..24_usize)
        .map(|n| {
            (0..n * n % 97 + 1).map(|at| words[(at * n + n) % words.len()]).collect::<Vec<_>>().join(" ")
        })
        .collect()
}

fn bits(embedding: &Embedding) -> Vec<u32> {
    embedding.values.iter().map(|value| value.to_bits()).collect()
}

fn engine(change: impl FnOnce(EngineConfig) -> EngineConfig) -> Engine {
    let config = EngineConfig::new().executor(ExecutorOptions::new().pool_bytes(24 << 20));
    Engine::builder().config(change(config)).load(ModelRef::Demo).unwrap()
}

#[test]
fn a_text_has_the_same_embedding_alone_in_batches_in_chunks_and_beside_generations() {
    for pooling in [Pooling::Mean, Pooling::Last] {
        let alone = engine(|mut config| {
            config.cache.enabled = false;
            config
        });
        let texts = texts();
        let expected: Vec<_> = texts
            .iter()
            .map(|text| bits(&alone.embed(text.as_str().into(), pooling).unwrap().wait().unwrap()))
            .collect();
        assert_ne!(expected[0], expected[1]);
        for max_step_tokens in [5, 64, 512] {
            let engine = engine(|mut config| {
                config.batching = config.batching.max_step_tokens(max_step_tokens).max_batch_size(6);
                config
            });
            let options = GenerationOptions::new().seed(7).max_new_tokens(20);
            let generate = || engine.submit(Request::new("Once upon a time".into(), options.clone()));
            let quiet = generate().unwrap().wait().unwrap();
            for _ in 0..2 {
                let handles: Vec<_> = texts
                    .iter()
                    .map(|text| (generate().unwrap(), engine.embed(text.as_str().into(), pooling).unwrap()))
                    .collect();
                for (index, (generation, embedding)) in handles.into_iter().enumerate() {
                    let embedding = embedding.wait().unwrap();
                    assert_eq!(
                        bits(&embedding),
                        expected[index],
                        "{pooling:?}, {max_step_tokens}: {}",
                        texts[index]
                    );
                    assert_eq!(generation.wait().unwrap()[0].tokens, quiet[0].tokens);
                }
            }
            let stats = engine.stats();
            assert_eq!((stats.live_requests, stats.cache.current_leases), (0, 0));
        }
    }
}

#[test]
fn the_last_position_needs_nothing_that_is_cached_and_a_dropped_handle_leaves_nothing() {
    let engine = engine(|config| config);
    let text = "Once upon a time there was a cat who lived in a town on a hill. ".repeat(3);
    let embed = |pooling| engine.embed(text.as_str().into(), pooling).unwrap().wait().unwrap();
    let first = embed(Pooling::Last);
    let again = embed(Pooling::Last);
    assert_eq!((bits(&first), first.cached_tokens), (bits(&again), 0));
    assert!(again.cached_tokens >= 16, "{}", again.cached_tokens);
    assert_eq!(embed(Pooling::Mean).cached_tokens, 0);
    drop(engine.embed(text.as_str().into(), Pooling::Mean).unwrap());
    assert!(engine.embed("a ".repeat(2000).into(), Pooling::Mean).is_err());
    assert_eq!(embed(Pooling::Last).values, first.values);
    assert_eq!(engine.stats().live_requests, 0);
}
