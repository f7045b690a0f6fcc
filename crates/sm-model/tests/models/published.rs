//! Published models compute their published logits, and one also its published activations at every stage.

use std::path::Path;

use serde_json::Value;
use sm_model::{LoadOptions, Model, load_model};

use crate::executed::{self, Sequence};
use crate::golden::read_f32;
use crate::{data_dir, interpreter};

fn load(path: &Path) -> Model {
    load_model(path, &LoadOptions::default()).unwrap()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn ids(list: &Value) -> Vec<u32> {
    list.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn floats(list: &Value) -> Vec<f32> {
    match list.as_array() {
        Some(list) => list.iter().flat_map(floats).collect(),
        None => vec![list.as_f64().unwrap() as f32],
    }
}

#[track_caller]
fn assert_close(what: &str, actual: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    let largest = actual.iter().zip(expected).map(|(a, e)| (a - e).abs()).fold(0.0, f32::max);
    println!("{what}: {largest:.2e}");
    let is_close = actual.iter().zip(expected).all(|(a, e)| (a - e).abs() <= tolerance);
    assert!(is_close, "{what}: differs by {largest}");
}

#[test]
fn stories260k_computes_the_published_logits_from_both_formats() {
    let Some(root) = data_dir().map(|dir| dir.join("models/stories260K")) else { return };
    for reference in ["empty_prompt", "tim"] {
        let expected = json(&root.join(format!("ref/{reference}.json")));
        let mut tokens = ids(&expected["prompt_ids"]);
        tokens.extend(ids(&expected["greedy_ids"]));
        // The last token was generated but never fed back.
        tokens.pop();
        let logits = read_f32(&root.join(format!("ref/{reference}.logits.f32")));
        for file in ["hf", "hf/stories260K-f32.gguf"] {
            let actual = executed::logits(&load(&root.join(file)), &tokens);
            assert_close(&format!("{file} {reference}"), &actual.concat(), &logits, 2e-4);
        }
    }
}

#[test]
fn smnd_checkpoints_compute_the_published_logits() {
    let Some(root) = data_dir().map(|dir| dir.join("models/smnd")) else { return };
    for name in ["demo-model", "classification-general"] {
        let expected = json(&root.join(format!("{name}.ref.json")));
        let model = load(&root.join(format!("{name}.smnd")));
        let actual = executed::logits(&model, &ids(&expected["tokens"]));
        assert_close(name, &actual.concat(), &floats(&expected["logits"]), 1e-3);
    }
}

/// Little-endian `f32` in base64.
fn base64_f32(text: &str) -> Vec<f32> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.trim_end_matches('=').bytes();
    let (mut bits, mut n_bits, mut bytes) = (0u32, 0, Vec::new());
    for digit in digits {
        let value = ALPHABET.iter().position(|&known| known == digit).unwrap();
        bits = bits << 6 | value as u32;
        n_bits += 6;
        if n_bits >= 8 {
            n_bits -= 8;
            bytes.push((bits >> n_bits) as u8);
        }
    }
    bytes.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

/// The stages of the published run, and the operations of the plan that they correspond to.
const STAGES: [(usize, &str); 12] = [
    (0, "x"),
    (1, "ln1"),
    (2, "qkv"),
    (4, "y"),
    (5, "attnResid"),
    (6, "ln2"),
    (7, "gelu"),
    (8, "block0"),
    (16, "block1"),
    (25, "block2"),
    (26, "ln_f"),
    (27, "lm_head"),
];

#[test]
fn gpt_nano_sort_computes_the_published_activations() {
    let Some(root) = data_dir().map(|dir| dir.join("models/gpt-nano-sort")) else { return };
    let stages = json(&root.join("gpt-nano-sort-t0-partials.json"));
    let stage = |name: &str| base64_f32(stages[name]["data"].as_str().unwrap());
    let model = load(&root.join("hf"));
    for (sequence, tokens) in stage("idx").chunks(11).enumerate() {
        let tokens: Vec<u32> = tokens.iter().map(|&id| id as u32).collect();
        let mut n_seen = 0;
        let mut visit = |op: usize, rows: &[f32]| {
            let Some((_, name)) = STAGES.iter().find(|(of, _)| *of == op) else { return };
            let expected = stage(name);
            let of_sequence = &expected[sequence * expected.len() / 3..][..expected.len() / 3];
            assert_close(&format!("sequence {sequence} {name}"), rows, of_sequence, 1e-4);
            n_seen += 1;
        };
        interpreter::run(&model, &tokens, &mut |op, rows| visit(op, &rows.concat()));
        Sequence::new(&model, tokens.len()).trace(&tokens, &mut visit);
        assert_eq!(n_seen, 2 * STAGES.len(), "\n{}", model.plan);
    }
    let expected = json(&root.join("ref_logits.json"));
    for (tokens, logits) in
        std::iter::zip(expected["idx"].as_array().unwrap(), expected["logits"].as_array().unwrap())
    {
        let actual = executed::logits(&model, &ids(tokens));
        assert_close("logits", &actual.concat(), &floats(logits), 1e-4);
    }
}
