//! `sm batch` on mutated lines: each has one answer, and none harms another.

use std::time::Instant;

use serde_json::Value;
use sm_mutate::Mutator;

use crate::run::{Outcome, Scratch, sm};

const SEEDS: [&str; 6] = [
    r#"{"prompt": "Once upon a time", "n_tokens": 3, "temp": 0.8, "top_k": 40, "seed": 7}"#,
    r#"{"id": "a", "messages": [{"role": "user", "content": "Hi!"}], "n_tokens": 2, "stop": ["x", "\n"]}"#,
    r#"{"prompt": "A", "json_schema": {"type": "object", "properties": {"a": {"type": "integer", "maximum": 9}}}}"#,
    r#"{"prompt": "One, two", "n_tokens": 2, "logprobs": 3, "echo": true, "ignore_eos": true}"#,
    r#"{"prompt": "B", "regex": "[a-z]{1,4}", "n_tokens": 3, "max_time_ms": 5000}"#,
    r#"{"prompt": "C", "min_p": 0.05, "repeat_penalty": 1.1, "logit_bias": {"5": -1.5}, "n_tokens": 1}"#,
];

/// Lines, of which one run takes all.
const N_LINES: u64 = 400;

#[test]
fn every_mutated_line_has_one_answer() {
    let n_lines = std::env::var("SM_MUTATIONS").map_or(N_LINES, |text| text.parse().unwrap());
    let seeds = SEEDS.map(|seed| seed.as_bytes().to_vec());
    let mutator = Mutator::new(&seeds);
    let mut input = Vec::new();
    let mut n_expected = 0;
    for number in 0..n_lines {
        let mut line = mutator.input(number);
        line.iter_mut().filter(|byte| b"\r\n".contains(byte)).for_each(|byte| *byte = b' ');
        // Blank lines have no answer, and text that is no UTF-8 ends a run, as a file of another kind would.
        let line = String::from_utf8_lossy(&line).into_owned();
        n_expected += usize::from(!line.trim().is_empty());
        input.extend(line.as_bytes());
        input.push(b'\n');
    }
    let scratch = Scratch::new("mutations");
    let began = Instant::now();
    let outcome = answered(&scratch, &input);
    eprintln!("{n_lines} mutated lines in {:.1} s", began.elapsed().as_secs_f64());
    let answers: Vec<Value> =
        outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), n_expected, "{}", outcome.stderr);
    let n_answered = answers.iter().filter(|answer| answer.get("error").is_none()).count();
    assert!(
        n_answered > 0 && n_answered < n_expected,
        "{n_answered} of {n_expected} lines are valid requests"
    );
    // One good line beside all the bad ones.
    let good = format!("{}\n", SEEDS[0]);
    let text = |input: &[u8]| {
        let outcome = answered(&scratch, input);
        let first = outcome.stdout.lines().next().unwrap().to_owned();
        serde_json::from_str::<Value>(&first).unwrap()["text"].clone()
    };
    assert_eq!(text(&[good.as_bytes(), &input].concat()), text(good.as_bytes()));
}

fn answered(scratch: &Scratch, input: &[u8]) -> Outcome {
    let file = scratch.path("lines.jsonl");
    std::fs::write(&file, input).unwrap();
    sm(&["batch", &file, "-", "-t", "1", "-c", "128", "-n", "2", "--parallel", "4", "-q"])
}
