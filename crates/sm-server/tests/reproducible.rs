//! The same request gives the same text, byte for byte, whatever else the server does: 200 requests of all APIs, first one after
//! another, then in random company on a server of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

#[path = "support/running.rs"]
mod running;

use std::sync::Arc;

use serde_json::{Value, json};
use sm_runtime::ModelRef;
use tokio::task::JoinSet;

use running::{Running, schema, with};

const N_REQUESTS: usize = 200;
const N_CLIENTS: usize = 24;

/// Numbers that look random and are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// A request of some API, with some of what changes an answer.
fn request(number: usize) -> (&'static str, Value) {
    let mut dice = Dice(number as u64);
    // Some share a beginning, so that pages are shared; some are long, so that prefill is cut into chunks.
    let prompt = match dice.below(4) {
        0 => format!("{}Then {number} came.", "Once upon a time there was a fox. ".repeat(8)),
        1 => format!("{number} {}", "word ".repeat(20 + dice.below(60))),
        _ => format!("Tell {number} a story."),
    };
    let messages = json!([{"role": "user", "content": prompt}]);
    let n_tokens = 4 + dice.below(40);
    let temperature = [0.0, 0.7, 1.0][dice.below(3)];
    let stream = dice.below(2) == 1;
    let sampled = json!({"seed": number, "temperature": temperature, "stream": stream});
    let (path, body) = match dice.below(7) {
        0 => ("/v1/completions", json!({"prompt": prompt, "max_tokens": n_tokens, "n": 1 + dice.below(3)})),
        1 => (
            "/v1/chat/completions",
            json!({"messages": messages, "max_tokens": n_tokens, "frequency_penalty": 0.5, "stop": ["fox"]}),
        ),
        2 => {
            let format = json!({"type": "json_schema", "json_schema": {"name": "a", "schema": schema()}});
            let body = json!({"messages": messages, "max_tokens": 40, "response_format": format});
            ("/v1/chat/completions", body)
        }
        3 => {
            let options = json!({"seed": number, "temperature": temperature, "num_predict": n_tokens});
            return (
                "/api/chat",
                json!({"model": "demo", "messages": messages, "options": options, "stream": stream}),
            );
        }
        4 => ("/completion", json!({"prompt": prompt, "n_predict": n_tokens, "top_k": 40, "min_p": 0.05})),
        5 => (
            "/v1/completions",
            json!({"prompt": prompt, "max_tokens": n_tokens, "logprobs": 2, "ignore_eos": true}),
        ),
        _ => {
            ("/v1/responses", json!({"input": prompt, "max_output_tokens": n_tokens.max(16), "seed": number}))
        }
    };
    (path, with(body, sampled))
}

/// The texts in an answer or in the chunks of a stream, with the choice each belongs to.
fn texts(value: &Value, choice: u64, found: &mut Vec<(u64, String)>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| texts(value, choice, found)),
        Value::Object(fields) => {
            let choice = fields.get("index").and_then(Value::as_u64).unwrap_or(choice);
            for (name, value) in fields {
                match value.as_str() {
                    Some(text) if ["content", "text", "delta"].contains(&name.as_str()) => {
                        match found.iter_mut().find(|(index, _)| *index == choice) {
                            Some((_, all)) => all.push_str(text),
                            None => found.push((choice, text.to_owned())),
                        }
                    }
                    _ => texts(value, choice, found),
                }
            }
        }
        _ => {}
    }
}

/// The answer's texts: all that a request determines.
async fn answer(server: &Running, number: usize) -> Vec<(u64, String)> {
    let (path, body) = request(number);
    let response = server.post(path, &body).await;
    let status = response.status();
    let text = response.text().await.unwrap();
    assert_eq!(status, 200, "{path} {body}: {text}");
    let mut found = Vec::new();
    for line in text.lines() {
        if let Ok(value) = serde_json::from_str(line.strip_prefix("data: ").unwrap_or(line)) {
            texts(&value, 0, &mut found);
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{path} {body}: {text}");
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_any_company_give_the_texts_of_their_lone_runs() {
    let alone = Running::of(ModelRef::Demo, |config| config).await;
    let mut expected = Vec::new();
    for number in 0..N_REQUESTS {
        expected.push(answer(&alone, number).await);
    }
    alone.stop().await;
    let longest = expected.iter().flatten().map(|(_, text)| text.len()).max().unwrap();
    assert!(longest > 100, "answers of up to {longest} bytes would show little");

    let server = Arc::new(Running::of(ModelRef::Demo, |config| config).await);
    let mut order: Vec<usize> = (0..N_REQUESTS).collect();
    let mut dice = Dice(1);
    (1..N_REQUESTS).rev().for_each(|last| order.swap(last, dice.below(last + 1)));
    let mut clients = JoinSet::new();
    for client in 0..N_CLIENTS {
        let server = Arc::clone(&server);
        let mine: Vec<usize> = order.iter().copied().skip(client).step_by(N_CLIENTS).collect();
        clients.spawn(async move {
            let mut answers = Vec::new();
            for number in mine {
                answers.push((number, answer(&server, number).await));
            }
            answers
        });
    }
    let mut n_compared = 0;
    for (number, found) in clients.join_all().await.into_iter().flatten() {
        let (path, body) = request(number);
        assert_eq!(found, expected[number], "{path} {body}");
        n_compared += 1;
    }
    assert_eq!(n_compared, N_REQUESTS);
    Arc::into_inner(server).unwrap().stop().await;
}
