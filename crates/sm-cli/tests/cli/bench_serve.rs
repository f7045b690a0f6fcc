//! `sm bench serve` against `sm serve`.

use serde_json::Value;

use crate::run::{Scratch, sm};
use crate::serve::Serving;

fn bench(serving: &Serving, args: &[&str]) -> crate::run::Outcome {
    let url = format!("http://{}", serving.address);
    sm(&[&["bench", "serve", "--base-url", &url], args].concat())
}

#[test]
fn random_prompts_have_the_tokens_that_were_asked_for() {
    let serving = Serving::start(&[]);
    let scratch = Scratch::new("bench-serve");
    let path = scratch.path("result.json");
    let sizes =
        ["--random-input-len", "40", "--random-output-len", "6", "--ignore-eos", "--num-prompts", "9"];
    let rest = ["--max-concurrency", "3", "--metric-percentiles", "50,99.5", "--goodput", "ttft:60000"];
    let saved = ["--save-detailed", "--result-filename", &path, "--metadata", "label=a b"];
    let table = bench(&serving, &[&sizes[..], &rest, &saved].concat()).success();
    for line in ["Successful requests:                     9", "P99.5 TTFT (ms):", "Request goodput (req/s):"]
    {
        assert!(table.contains(line), "{line:?} in {table}");
    }
    let result: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(
        (&result["completed"], &result["total_output_tokens"]),
        (&9.into(), &(9 * 6).into()),
        "{result}"
    );
    assert_eq!((&result["max_concurrency"], &result["label"]), (&3.into(), &"a b".into()));
    let lens = result["input_lens"].as_array().unwrap();
    // The server adds the token that begins a text.
    assert!(lens.iter().all(|len| (39..=42).contains(&len.as_u64().unwrap())), "{lens:?}");
    let ttft = result["median_ttft_ms"].as_f64().unwrap();
    assert!(ttft > 0.0 && ttft <= result["median_e2el_ms"].as_f64().unwrap(), "{result}");
    assert!(result["max_concurrent_requests"].as_u64().unwrap() <= 3);
}

#[test]
fn prompts_come_from_files_as_well() {
    let serving = Serving::start(&[]);
    let scratch = Scratch::new("bench-serve-files");
    let trace = scratch.file(
        "trace.jsonl",
        "{\"timestamp\": 5000, \"input_length\": 1000, \"output_length\": 40, \"hash_ids\": [1, 2]}\n\
         {\"timestamp\": 5100, \"input_length\": 520, \"output_length\": 20, \"hash_ids\": [1, 3]}\n",
    );
    let lines = scratch.file("lines.jsonl", "{\"prompt\": \"Once upon a time\", \"output_tokens\": 3}\n");
    let turns =
        |a: &str, b: &str| format!("[{{\"conversations\": [{{\"value\": {a:?}}}, {{\"value\": {b:?}}}]}}]");
    let talk = scratch
        .file("talk.json", turns("What is 17 + 25, and why is it so?", "It is 42, since 7 + 5 is 12."));
    let cases: [&[&str]; 3] = [
        &["--dataset-name", "trace", "--dataset-path", &trace, "--trace-scale", "0.1"],
        &["--dataset-name", "custom", "--dataset-path", &lines, "--num-prompts", "4"],
        &[
            "--dataset-name",
            "sharegpt",
            "--dataset-path",
            &talk,
            "--num-prompts",
            "2",
            "--backend",
            "openai-chat",
        ],
    ];
    for (args, n) in cases.iter().zip([2, 4, 2]) {
        let table = bench(&serving, args).success();
        assert!(
            table.contains(&format!("Successful requests:                     {n} ")),
            "{args:?}: {table}"
        );
    }
}

#[test]
fn what_cannot_be_measured_is_said() {
    let error = sm(&["bench", "serve", "--port", "1", "-m", "x", "--num-prompts", "1"]).error(1);
    assert!(error.contains("the first request failed") && error.contains("refused"), "{error}");
    let error = sm(&["bench", "serve", "--port", "1"]).error(1);
    assert!(error.contains("http://127.0.0.1:1 does not answer"), "{error}");
    let error = sm(&["bench", "serve", "--request-rate", "0"]).error(2);
    assert!(error.contains("--request-rate: 0 is not above 0"), "{error}");
    let error = sm(&["bench", "serve", "--dataset-name", "custom"]).error(2);
    assert!(error.contains("--dataset-path"), "{error}");
    let error = sm(&["bench", "serve", "--goodput", "itl:3"]).error(2);
    assert!(error.contains("ttft, tpot, e2el"), "{error}");
}
