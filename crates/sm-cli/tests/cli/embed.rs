//! `sm embed`: vectors of texts.

use serde_json::{Value, json};
use sm_runtime::{Engine, ModelRef, Pooling};

use crate::run::{Outcome, Scratch, sm, sm_with_input};

const TEXTS: [&str; 3] = ["Once upon a time", "What is 17 + 25?", "Once upon a time"];

/// The objects of JSON lines.
fn lines(outcome: Outcome) -> Vec<Value> {
    outcome.success().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn vector(line: &Value) -> Vec<f32> {
    line["embedding"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32).collect()
}

#[test]
fn vectors_are_those_of_the_engine_in_the_order_of_the_texts() {
    let engine = Engine::builder().load(ModelRef::Demo).unwrap();
    for (pooling, of_engine) in [("mean", Pooling::Mean), ("last", Pooling::Last)] {
        let embedded = lines(sm(&[&["embed", "--pooling", pooling][..], &TEXTS].concat()));
        assert_eq!(embedded.len(), TEXTS.len());
        for (index, (line, text)) in embedded.iter().zip(TEXTS).enumerate() {
            let expected = engine.embed(text.into(), of_engine).unwrap().wait().unwrap();
            assert_eq!((&line["index"], &line["tokens"]), (&json!(index), &json!(expected.n_tokens)));
            assert_eq!(vector(line), expected.normalized(None), "{pooling} {text}");
        }
        let raw = lines(sm(&["embed", "--pooling", pooling, "--no-normalize", TEXTS[1]]));
        let expected = engine.embed(TEXTS[1].into(), of_engine).unwrap().wait().unwrap();
        assert_eq!(vector(&raw[0]), expected.values);
    }
}

#[test]
fn texts_come_from_files_and_stdin_and_vectors_in_three_forms() {
    let scratch = Scratch::new("embed");
    let file = scratch.file("texts.txt", TEXTS.join("\n") + "\n");
    let expected = sm(&[&["embed"][..], &TEXTS].concat()).success();
    assert_eq!(sm(&["embed", "-f", &file, "--parallel", "1"]).success(), expected);
    assert_eq!(sm_with_input(&["embed"], &TEXTS.join("\r\n")).success(), expected);
    assert_eq!(
        sm_with_input(&["embed", "-f", "-", "--separator", "--"], &TEXTS.join("--")).success(),
        expected
    );

    let short = lines(sm(&["embed", "--dimensions", "4", TEXTS[0]]));
    let text = sm(&["embed", "--dimensions", "4", "-o", "text", TEXTS[0]]).success();
    let numbers: Vec<f32> = text.trim_end().split(' ').map(|number| number.parse().unwrap()).collect();
    assert_eq!(numbers, vector(&short[0]));
    let length: f32 = numbers.iter().map(|value| value * value).sum();
    assert!(numbers.len() == 4 && (length - 1.0).abs() < 1e-6, "{numbers:?}");

    let output = std::process::Command::new(env!("CARGO_BIN_EXE_sm"))
        .args(["embed", "--dimensions", "4", "-o", "f32", "-q", TEXTS[0], TEXTS[1]])
        .output()
        .unwrap();
    assert_eq!(output.stdout.len(), 2 * 4 * 4);
    let first: Vec<f32> =
        output.stdout[..16].chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    assert_eq!(first, numbers);
}

#[test]
fn what_cannot_be_embedded_is_named() {
    let long = "word ".repeat(2000);
    for (args, input, code, parts) in [
        (&["embed"][..], "a\n\nb", 2, &["text 2", "empty"][..]),
        (&["embed"], "", 2, &["no text"]),
        (&["embed", "--dimensions", "999", "a"], "", 2, &["--dimensions", "999", "256"]),
        (&["embed", "--dimensions", "0", "a"], "", 2, &["1 or more"]),
        (&["embed", "--separator", "", "-f", "-"], "a", 2, &["--separator"]),
        (&["embed", "-f", "no-such-file.txt"], "", 1, &["no-such-file.txt"]),
        (&["embed", &long], "", 1, &["text 1", "context"]),
    ] {
        let outcome = sm_with_input(args, input);
        assert_eq!(outcome.code, code, "{args:?}: {}", outcome.stderr);
        for part in parts {
            assert!(outcome.stderr.contains(part), "{args:?}: {}", outcome.stderr);
        }
    }
}
