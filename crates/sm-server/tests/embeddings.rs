//! `/v1/embeddings`, over HTTP, from the demo model.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/running.rs"]
mod running;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use running::Running;
use serde_json::{Value, json};

const PATH: &str = "/v1/embeddings";

fn vectors(answer: &Value) -> Vec<Vec<f64>> {
    let data = answer["data"].as_array().unwrap().iter();
    data.map(|each| each["embedding"].as_array().unwrap().iter().map(|it| it.as_f64().unwrap()).collect())
        .collect()
}

fn length(vector: &[f64]) -> f64 {
    vector.iter().map(|value| value * value).sum::<f64>().sqrt()
}

#[tokio::test]
async fn texts_and_tokens_are_embedded_in_their_order() {
    let server = Running::start().await;
    let texts = ["Once upon a time", "What is 17 + 25?", "Once upon a time"];
    let answer = server.json(PATH, &json!({"model": "gpt-4o", "input": texts, "user": "me"})).await;
    assert_eq!((&answer["object"], &answer["model"]), (&json!("list"), &json!("demo")));
    let all = vectors(&answer);
    assert_eq!(all.len(), 3);
    assert_eq!((&all[0], all[0].len()), (&all[2], 256));
    assert_ne!(all[0], all[1]);
    for (index, vector) in all.iter().enumerate() {
        assert!((length(vector) - 1.0).abs() < 1e-6);
        assert_eq!(
            (&answer["data"][index]["index"], &answer["data"][index]["object"]),
            (&json!(index), &json!("embedding"))
        );
    }
    let one = server.json(PATH, &json!({"input": texts[1]})).await;
    assert_eq!(vectors(&one), [all[1].clone()], "alone it is the same");
    let tokens = server.json("/tokenize", &json!({"prompt": texts[1]})).await["tokens"].clone();
    assert_eq!(one["usage"]["prompt_tokens"], tokens.as_array().unwrap().len());
    assert_eq!(one["usage"]["total_tokens"], one["usage"]["prompt_tokens"]);
    for input in [tokens.clone(), json!([tokens])] {
        assert_eq!(vectors(&server.json(PATH, &json!({"input": input})).await), [all[1].clone()]);
    }
    let last = server.json(PATH, &json!({"input": texts[1], "pooling": "last"})).await;
    assert_ne!(vectors(&last)[0], all[1]);
    server.stop().await;
}

#[tokio::test]
async fn vectors_come_shortened_raw_and_as_bytes() {
    let server = Running::start().await;
    let whole = vectors(&server.json(PATH, &json!({"input": "Once upon a time"})).await).remove(0);
    let short =
        vectors(&server.json(PATH, &json!({"input": "Once upon a time", "dimensions": 8})).await).remove(0);
    assert_eq!(short.len(), 8);
    let scale = length(&whole[..8]);
    assert!(short.iter().zip(&whole).all(|(short, whole)| (short - whole / scale).abs() < 1e-6));
    let raw = vectors(&server.json(PATH, &json!({"input": "Once upon a time", "normalize": false})).await)
        .remove(0);
    let scale = length(&raw);
    assert!(scale > 1.1 && raw.iter().zip(&whole).all(|(raw, whole)| (raw / scale - whole).abs() < 1e-6));
    let coded = server.json(PATH, &json!({"input": "Once upon a time", "encoding_format": "base64"})).await;
    let bytes = BASE64_STANDARD.decode(coded["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let values: Vec<f64> =
        bytes.chunks_exact(4).map(|four| f64::from(f32::from_le_bytes(four.try_into().unwrap()))).collect();
    assert_eq!(values.len(), whole.len());
    assert!(values.iter().zip(&whole).all(|(value, whole)| (value - whole).abs() < 1e-7));
    server.stop().await;
}

#[tokio::test]
async fn more_texts_than_the_queue_holds_are_embedded_and_what_is_wrong_is_named() {
    let server = Running::start().await;
    let texts: Vec<String> = (0..150).map(|n| format!("The number {n}.")).collect();
    let answer = server.json(PATH, &json!({"input": texts})).await;
    assert_eq!(vectors(&answer).len(), 150);
    for (body, param, part) in [
        (json!({}), json!("input"), "missing"),
        (json!({"input": []}), json!("input"), "empty"),
        (json!({"input": ["a", ""]}), json!("input"), "empty"),
        (json!({"input": 7}), json!("input"), "a text"),
        (json!({"input": ["a", [1]]}), Value::Null, ""),
        (json!({"input": [99_999]}), json!("prompt"), "99999"),
        (json!({"input": "a", "dimensions": 0}), json!("dimensions"), "1 or more"),
        (json!({"input": "a", "dimensions": 9999}), json!("dimensions"), "256"),
        (json!({"input": "a", "encoding_format": "hex"}), json!("encoding_format"), "base64"),
        (json!({"input": "a", "inputs": "b"}), json!("inputs"), "unknown"),
        (json!({"input": "word ".repeat(3000)}), Value::Null, "context"),
        (json!({"input": vec!["a"; 2049]}), json!("input"), "2048"),
    ] {
        let response = server.post(PATH, &body).await;
        if part.is_empty() {
            assert_eq!(response.status(), 200, "{body}");
            continue;
        }
        assert_eq!(response.status(), 400, "{part}");
        let error = &response.json::<Value>().await.unwrap()["error"];
        assert_eq!(error["param"], param, "{error}");
        assert!(error["message"].as_str().unwrap().contains(part), "{error}");
    }
    server.stop().await;
}
