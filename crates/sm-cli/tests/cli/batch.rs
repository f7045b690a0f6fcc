//! `sm batch`: every line has its answer, in order, and a run that was broken off goes on.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::run::{Scratch, sm, sm_with_input};

/// Requests of all lengths, some without an id, with a blank line among them.
fn requests() -> String {
    let mut lines = String::new();
    for i in 0..12u64 {
        let mut line = json!({"prompt": format!("Once upon a time {i}"), "n_tokens": (i * 7) % 40 + 1});
        if i % 3 > 0 {
            line["id"] = json!(format!("request {i}"));
        }
        if i == 5 {
            lines += "  \n";
        }
        lines += &format!("{line}\n");
    }
    lines
}

fn batch<'a>(rest: &[&'a str]) -> Vec<&'a str> {
    [&["batch", "-t", "1", "--seed", "7", "--parallel", "3"], rest].concat()
}

fn answers(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn answers_come_in_order_and_are_those_of_generate() {
    let outcome = sm_with_input(&batch(&["-", "-"]), &requests());
    assert!(outcome.stderr.contains("12 requests, 0 failed"), "{}", outcome.stderr);
    let answers = answers(&outcome.success());
    let ids: Vec<Value> = answers.iter().map(|answer| answer["id"].clone()).collect();
    // The blank line is the sixth of the file.
    let expected = json!([
        1,
        "request 1",
        "request 2",
        4,
        "request 4",
        "request 5",
        8,
        "request 7",
        "request 8",
        11,
        "request 10",
        "request 11"
    ]);
    assert_eq!(json!(ids), expected);
    for (index, line) in [(0, 1), (4, 5), (7, 9), (11, 13)] {
        let (prompt, seed) = (format!("Once upon a time {index}"), (7 + line - 1).to_string());
        let n_tokens = ((index * 7) % 40 + 1).to_string();
        let alone = sm(&["generate", &prompt, "-n", &n_tokens, "--seed", &seed, "-t", "1", "--json"]).json();
        for field in ["text", "tokens", "finish_reason", "seed"] {
            assert_eq!(answers[index][field], alone[field], "{index} {field}");
        }
        assert_eq!(answers[index]["usage"]["prompt_tokens"], alone["prompt_tokens"]);
    }
}

#[test]
fn a_wrong_line_is_answered_with_what_is_wrong_and_hurts_nobody() {
    let scratch = Scratch::new("batch-errors");
    let long = "word ".repeat(600);
    let lines = [
        r#"{"id": "a", "prompt": "One day", "n_tokens": 3}"#,
        r#"{"id": "b", "prompt": "One day", "tempratur": 1}"#,
        r#"{"id": "c", "prompt": "One day""#,
        r#"{"id": "d", "prompt": "One day", "top_p": 1.5}"#,
        &format!(r#"{{"id": "e", "prompt": "{long}"}}"#),
        r#"{"id": "f", "messages": [{"role": "user", "content": "What is 17 + 25?"}], "n_tokens": 60, "temp": 0}"#,
        r#"{"id": "g", "prompt": "One day", "n_tokens": 3, "seed": 7, "logprobs": 2}"#,
    ];
    let (input, output) = (scratch.file("in.jsonl", lines.join("\n")), scratch.path("out.jsonl"));
    let outcome = sm(&batch(&[&input, &output, "-c", "256"]));
    assert!(outcome.stderr.contains("7 requests, 4 failed"), "{}", outcome.stderr);
    assert_eq!(outcome.success(), "");
    let answers = answers(&std::fs::read_to_string(&output).unwrap());
    assert_eq!(answers.len(), 7);
    for (index, id, parts) in [
        (1, json!("b"), ["line 2", "tempratur"]),
        (2, json!(3), ["line 3", "column"]),
        (3, json!("d"), ["line 4", "top_p"]),
        (4, json!("e"), ["line 5", "context"]),
    ] {
        let (answer, error) = (&answers[index], answers[index]["error"].as_str().unwrap());
        assert_eq!((&answer["id"], answer.as_object().unwrap().len()), (&id, 2), "{answer}");
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
    assert!(answers[5]["text"].as_str().unwrap().contains("42"), "{}", answers[5]);
    assert_eq!(answers[0]["tokens"], answers[6]["tokens"]);
    assert!(answers[0]["logprobs"].is_null());
    let logprobs = answers[6]["logprobs"].as_array().unwrap();
    assert!(logprobs.len() == 3 && logprobs[0]["top"].as_array().unwrap().len() == 2, "{logprobs:?}");
}

#[test]
fn failed_requests_fail_the_command_if_asked_to() {
    let lines = "{\"id\": \"a\", \"prompt\": 1}\n{\"id\": \"b\", \"prompt\": \"One\", \"n_tokens\": 2}\n";
    let outcome = sm_with_input(&batch(&["-", "-", "--fail-on-error"]), lines);
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("error: 1 requests failed"), "{}", outcome.stderr);
    assert!(answers(&outcome.stdout)[1]["text"].is_string());
    assert_eq!(
        sm_with_input(&batch(&["-", "-", "--fail-on-error"]), lines.split_once('\n').unwrap().1).code,
        0
    );
}

#[test]
fn lines_of_openai_get_answers_in_its_form() {
    let scratch = Scratch::new("batch-openai");
    let line = |id: &str, url: &str, body: Value| {
        json!({"custom_id": id, "method": "POST", "url": url, "body": body}).to_string()
    };
    let user = json!([{"role": "user", "content": "What is 17 + 25?"}]);
    let (chat, completion) = ("/v1/chat/completions", "/v1/completions");
    let lines = [
        line(
            "a",
            chat,
            json!({"model": "m", "messages": user, "max_completion_tokens": 60, "temperature": 0}),
        ),
        line("b", completion, json!({"prompt": [5, 6], "max_tokens": 3, "n": 2, "logprobs": 2, "seed": 1})),
        line("c", chat, json!({"messages": user, "audio": {}})),
        line("d", chat, json!({"messages": user, "max_tokens": 2, "logprobs": true, "top_logprobs": 1})),
        json!({"id": 5, "prompt": "One", "n": 2, "n_tokens": 2}).to_string(),
    ];
    let (input, output) = (scratch.file("in.jsonl", lines.join("\n")), scratch.path("out.jsonl"));
    let outcome = sm(&batch(&[&input, &output]));
    assert!(outcome.stderr.contains("5 requests, 1 failed"), "{}", outcome.stderr);
    let text = std::fs::read_to_string(&output).unwrap();
    let answers = answers(&text);
    let ids: Vec<&Value> = answers[..4].iter().map(|answer| &answer["custom_id"]).collect();
    assert_eq!(ids, ["a", "b", "c", "d"]);
    let body = |index: usize| &answers[index]["response"]["body"];
    let choice = &body(0)["choices"][0];
    assert!(choice["message"]["content"].as_str().unwrap().contains("42"), "{choice}");
    assert_eq!((&choice["message"]["role"], &choice["finish_reason"]), (&json!("assistant"), &json!("stop")));
    assert_eq!((&body(0)["model"], &body(0)["object"]), (&json!("m"), &json!("chat.completion")));
    assert_eq!((&answers[0]["response"]["status_code"], &answers[0]["error"]), (&json!(200), &Value::Null));
    assert_eq!(body(1)["usage"], json!({"prompt_tokens": 2, "completion_tokens": 6, "total_tokens": 8}));
    for choice in body(1)["choices"].as_array().unwrap() {
        let logprobs = &choice["logprobs"];
        assert_eq!(logprobs["tokens"].as_array().unwrap().len(), 3, "{choice}");
        assert_eq!(logprobs["top_logprobs"][0].as_object().unwrap().len(), 2, "{choice}");
        assert_eq!(choice["finish_reason"], "length");
    }
    assert_eq!(answers[2]["response"]["status_code"], 400);
    let message = body(2)["error"]["message"].as_str().unwrap();
    assert!(message.contains("line 3: body.audio: unknown field"), "{message}");
    assert_eq!(body(3)["choices"][0]["logprobs"]["content"].as_array().unwrap().len(), 2);
    assert_eq!(answers[4]["choices"].as_array().unwrap().len(), 2, "{}", answers[4]);
    assert_eq!(answers[4]["usage"]["generated_tokens"], 4);
    // Answers are found again by their custom_id.
    std::fs::write(&output, &text[..text.find('\n').unwrap() + 1]).unwrap();
    sm(&batch(&[&input, &output, "--resume"])).success();
    assert_eq!(std::fs::read_to_string(&output).unwrap(), text);
}

#[test]
fn a_run_that_was_broken_off_goes_on_behind_what_is_whole() {
    let scratch = Scratch::new("batch-resume");
    let (input, output) = (scratch.file("in.jsonl", requests()), scratch.path("out.jsonl"));
    let run = |rest: &[&str]| sm(&batch(&[&[input.as_str(), &output], rest].concat()));
    let read = || std::fs::read_to_string(&output).unwrap();
    run(&["--resume"]).success();
    let whole = read();
    let ends: Vec<usize> = whole.match_indices('\n').map(|(at, _)| at + 1).collect();
    assert_eq!(ends.len(), 12);
    // Nothing, a piece of the first line, whole lines, a torn line, a line that lacks but its end, everything.
    for n_bytes in [0, 5, ends[1], ends[3] + 17, ends[6] - 1, ends[11]] {
        std::fs::write(&output, &whole[..n_bytes]).unwrap();
        let outcome = run(&["--resume"]);
        let n_kept = ends.iter().filter(|end| **end <= n_bytes).count();
        assert!(outcome.stderr.contains(&format!("{} requests", 12 - n_kept)), "{}", outcome.stderr);
        outcome.success();
        assert_eq!(read(), whole, "after {n_bytes} bytes");
    }
    let refused = run(&[]).error(1);
    assert!(refused.contains("--resume") && refused.contains("--force"), "{refused}");
    std::fs::write(&output, format!("{}{{\"id\": \"another\"}}\ntorn", &whole[..ends[1]])).unwrap();
    let other = run(&["--resume"]).error(1);
    assert!(other.contains("line 3"), "{other}");
    assert!(read().ends_with("torn"));
    run(&["--force"]).success();
    assert_eq!(read(), whole);
}

#[test]
fn what_cannot_be_is_refused_before_the_model_is_loaded() {
    let scratch = Scratch::new("batch-refused");
    let input = scratch.file("in.jsonl", "{}\n");
    let output = scratch.path("out.jsonl");
    for (args, code, part) in [
        (vec![input.as_str(), &input, "--force"], 2, "both input and output"),
        (vec![input.as_str(), "-", "--resume"], 2, "name a file"),
        (vec!["no.jsonl", &output], 1, "no.jsonl"),
        (vec![input.as_str(), &output, "--top-p", "2"], 2, "--top-p"),
        (vec![input.as_str(), &output], 1, "no.gguf"),
    ] {
        let message = sm(&[&["batch", "-m", "no.gguf"], args.as_slice()].concat()).error(code);
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(std::fs::read_to_string(&input).unwrap(), "{}\n");
    assert!(!std::path::Path::new(&output).exists());
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_it_with_what_is_done() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sm"))
        .args(batch(&["-", "-"]))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut requests = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap());
    let mut answer = String::new();
    // Each answer comes while the input is open: nothing waits for a line that may never come.
    for id in 1..4 {
        writeln!(requests, r#"{{"id": {id}, "prompt": "One day", "n_tokens": 4}}"#).unwrap();
        answer.clear();
        answers.read_line(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("{{\"id\":{id},\"text\"")), "{answer}");
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("3 requests, 0 failed"), "{stderr}");
    drop(requests);
}
