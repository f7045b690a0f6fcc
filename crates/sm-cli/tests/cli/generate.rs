//! `sm generate`: the right text, on the right stream, in the right format.

use crate::run::{Scratch, reference, sm, sm_with_input, stories};

/// Always the likeliest token, as the references were made.
const GREEDY: [&str; 6] = ["--temp", "0", "--kv-type", "f32", "-t", "1"];

fn greedy<'a>(model: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    [&["generate", "-m", model], GREEDY.as_slice(), rest].concat()
}

/// The reference's continuation, without what the prompt says.
fn continuation(name: &str) -> String {
    let reference = reference(name);
    let (text, prompt) = (reference["text"].as_str().unwrap(), reference["prompt"].as_str().unwrap());
    text.strip_prefix(prompt).unwrap().to_owned()
}

#[test]
fn greedy_text_is_the_reference_from_directory_and_gguf() {
    let Some(models) = stories() else { return };
    let prompt = reference("tim.json")["prompt"].as_str().unwrap().to_owned();
    for model in &models {
        let text = sm(&greedy(model, &[&prompt, "-n", "175"])).success();
        assert_eq!(text, continuation("tim.json"), "{model}");
    }
}

#[test]
fn speculation_changes_no_text() {
    let question =
        ["generate", "--chat", "What is 347 + 285?", "-n", "120", "-t", "1", "--seed", "5", "--json"];
    let plain = sm(&question).json();
    assert_eq!(plain["drafted_tokens"], 0);
    for speculation in [&["--draft", "demo-draft"][..], &["--lookup"], &["--draft", "demo-draft", "--lookup"]]
    {
        let drafted = sm(&[&question, speculation].concat()).json();
        assert_eq!(
            (&drafted["text"], &drafted["tokens"]),
            (&plain["text"], &plain["tokens"]),
            "{speculation:?}"
        );
        if speculation.contains(&"--draft") {
            assert!(drafted["accepted_tokens"].as_u64().unwrap() > 0, "{drafted}");
        }
    }
    let Some([model, _]) = stories() else { return };
    let outcome = sm(&["generate", "-m", &model, "--draft", "demo-draft", "x"]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("both must have the same vocabulary"), "{}", outcome.stderr);
}

#[test]
fn a_preset_changes_no_text_and_shows_what_it_means() {
    let story = ["generate", "Once upon a time", "-n", "40", "-t", "1", "--seed", "5"];
    let plain = sm(&story).success();
    for (preset, line) in [
        ("latency", "speculation.lookup = true"),
        ("aggressive", "speculation.max_draft_len = 6"),
        ("memory", "cache.gc_threshold_percent = 80"),
        ("max-throughput", "cache.max_sessions = 1000"),
    ] {
        let outcome = sm(&[&story[..], &["--preset", preset]].concat());
        assert!(outcome.stderr.lines().any(|found| found == line), "{line}: {}", outcome.stderr);
        assert_eq!(outcome.success(), plain, "{preset}");
    }
    let outcome = sm(&[&story[..], &["--memory-limit", "1M"]].concat());
    assert_eq!((outcome.code, outcome.stdout.as_str()), (1, ""));
    let told = ["weights (", "keys and values (", "activations (", "but the configuration allows 1.00 MB"];
    assert!(told.iter().all(|part| outcome.stderr.contains(part)), "{}", outcome.stderr);
}

#[test]
fn the_log_tells_each_step_to_those_who_ask() {
    let story = ["generate", "Once upon a time", "-n", "3", "-t", "1", "--temp", "0"];
    let quiet = sm(&story);
    assert!(!quiet.stderr.contains("INFO") && !quiet.stderr.contains("step="), "{}", quiet.stderr);
    let outcome = sm(&[&story[..], &["--log-level", "debug"]].concat());
    for part in
        ["INFO", "engine started", "batching.max_batch_size = 1", "request submitted", "finish_reason"]
    {
        assert!(outcome.stderr.contains(part), "{part}: {}", outcome.stderr);
    }
    let steps: Vec<&str> = outcome.stderr.lines().filter(|line| line.contains("step=")).collect();
    assert_eq!(steps.len(), 3, "{}", outcome.stderr);
    assert!(steps[0].contains("0.0 ") && steps[0].contains("@0 after "), "{}", steps[0]);
    assert!(steps[1].contains(" 1@") && !steps[1].contains("after"), "{}", steps[1]);
    assert!(!outcome.stderr.contains("upon"), "no prompt in the log");
    assert_eq!(outcome.success(), quiet.success());
}

#[test]
fn grammars_come_in_gbnf_and_schemas_on_stdin() {
    let scratch = Scratch::new("gbnf");
    let grammar = scratch.file("list.gbnf", "\u{feff}root ::= \"[\" root \"]\" | [0-9]{2}");
    let text = sm(&["generate", "x", "--grammar", &grammar, "-n", "200", "--seed", "4", "-t", "1"]).success();
    let inner = text.trim_end().trim_matches(['[', ']']);
    assert!(inner.len() == 2 && inner.bytes().all(|byte| byte.is_ascii_digit()), "{text}");
    let args = ["generate", "x", "--json-schema", "-", "-t", "1"];
    let outcome = crate::run::sm_with_input(&args, "{\"const\": {\"a\": [1, true]}}");
    assert_eq!(outcome.success().trim_end(), "{\"a\":[1,true]}");
    let refused = sm(&["generate", "x", "--json-schema", "{\"items\": {\"not\": {}}}", "-t", "1"]).error(1);
    assert!(refused.contains("#/items/not: cannot be enforced; list what is allowed"), "{refused}");
}

#[test]
fn an_output_that_is_cut_before_its_form_is_complete_says_so() {
    let schema = "{\"type\": \"array\", \"items\": {\"const\": \"word\"}, \"minItems\": 99}";
    let args = ["generate", "x", "--json-schema", schema, "-n", "9", "-t", "1"];
    let outcome = sm(&args);
    assert!(outcome.stderr.contains("cut before its form was complete; raise -n"), "{}", outcome.stderr);
    outcome.success();
    assert_eq!(sm(&[args.as_slice(), &["--json"]].concat()).json()["finish_reason"], "length");
    assert!(!sm(&["generate", "x", "-n", "9", "-t", "1"]).stderr.contains("was cut"));
}

#[test]
fn the_text_has_the_form_that_was_asked_for() {
    let scratch = Scratch::new("forms");
    let schema = scratch.file(
        "schema.json",
        r#"{"type": "object", "properties": {"name": {"enum": ["Lily", "Tom"]}, "age": {"type": "integer", "minimum": 1, "maximum": 9}},
            "required": ["name", "age"], "additionalProperties": false}"#,
    );
    for seed in ["1", "2", "3"] {
        let text =
            sm(&["generate", "A child", "--json-schema", &schema, "--seed", seed, "-t", "1"]).success();
        let value: serde_json::Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert!(["Lily", "Tom"].contains(&value["name"].as_str().unwrap()), "{text}");
        assert!((1..=9).contains(&value["age"].as_u64().unwrap()), "{text}");
    }
    let text = sm(&["generate", "Call", "--regex", "[0-9]{3}-[0-9]{4}", "-t", "1"]).success();
    assert!(text.len() == 8 && text.as_bytes()[3] == b'-', "{text}");
    let grammar = scratch.file("grammar.lark", "start: (\"ab\" | \"cd\"){1,5} \".\"");
    let text = sm(&["generate", "x", "--grammar", &grammar, "-n", "200", "--seed", "4", "-t", "1"]).success();
    assert!(text.ends_with('.') && text.len() % 2 == 1, "{text}");
    let outcome = sm(&["generate", "x", "--regex", "(", "-t", "1"]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("the grammar cannot be used"), "{}", outcome.stderr);
}

#[test]
fn an_empty_prompt_continues_from_the_beginning() {
    let Some([model, _]) = stories() else { return };
    let text = sm(&greedy(&model, &["", "-n", "200"])).success();
    assert_eq!(text.trim_start(), continuation("empty_prompt.json"));
}

#[test]
fn the_prompt_comes_from_argument_file_or_input() {
    let Some([_, model]) = stories() else { return };
    let scratch = Scratch::new("prompt-sources");
    let file = scratch.file("prompt.txt", "One day, Tim\n");
    let expected = sm(&greedy(&model, &["One day, Tim", "-n", "20"])).success();
    assert!(!expected.is_empty());
    for (args, input) in [
        (vec!["-n", "20", "-f", &file], "not this"),
        (vec!["-n", "20"], "One day, Tim\n"),
        (vec!["-n", "20", "-"], "One day, Tim\r\n"),
        (vec!["-n", "20", "--no-stream"], "One day, Tim"),
    ] {
        assert_eq!(sm_with_input(&greedy(&model, &args), input).success(), expected, "{args:?}");
    }
}

#[test]
fn only_text_is_on_standard_output_and_timings_are_beside_it() {
    let Some([_, model]) = stories() else { return };
    let outcome = sm(&greedy(&model, &["One day", "-n", "8"]));
    assert!(outcome.stderr.contains("tok/s") && outcome.stderr.contains("length"), "{}", outcome.stderr);
    let quiet = sm(&greedy(&model, &["One day", "-n", "8", "-q"]));
    assert_eq!((quiet.stderr.as_str(), quiet.stdout), ("", outcome.stdout.clone()));
    let echoed = sm(&greedy(&model, &["One day", "-n", "8", "--echo"])).success();
    assert_eq!(echoed, format!("One day{}", outcome.success()));
}

#[test]
fn json_has_the_documented_fields() {
    let Some([model, _]) = stories() else { return };
    let reference = reference("tim.json");
    let report = sm(&greedy(&model, &[reference["prompt"].as_str().unwrap(), "-n", "30", "--json"])).json();
    let expected: Vec<_> = reference["greedy_ids"].as_array().unwrap()[..30].to_vec();
    assert_eq!(report["tokens"].as_array().unwrap(), &expected);
    assert_eq!(report["prompt_tokens"], reference["prompt_ids"].as_array().unwrap().len());
    assert_eq!(report["finish_reason"], "length");
    assert!(report["seed"].is_u64());
    assert!(continuation("tim.json").starts_with(report["text"].as_str().unwrap()));
    for name in ["load_ms", "prompt_ms", "generation_ms", "generation_tokens_per_second"] {
        assert!(report["timings"][name].as_f64().unwrap() > 0.0, "{name}: {report}");
    }
}

#[test]
fn a_seed_repeats_a_text_and_the_seed_drawn_is_told() {
    let Some([model, _]) = stories() else { return };
    let sampled = |seed: Option<&str>| {
        let mut args =
            vec!["generate", "-m", &model, "-t", "1", "--temp", "1.5", "-n", "40", "--json", "Once"];
        args.extend(seed.iter().flat_map(|seed| ["--seed", seed]));
        sm(&args).json()
    };
    let drawn = sampled(None);
    let seed = drawn["seed"].to_string();
    assert_eq!(sampled(Some(&seed))["text"], drawn["text"]);
    assert_ne!(sampled(Some("1"))["text"], sampled(Some("2"))["text"]);
}

#[test]
fn stop_strings_and_quantized_loading_work() {
    let Some([model, gguf]) = stories() else { return };
    let stopped =
        sm(&greedy(&model, &["One day, Tim", "-n", "100", "--stop", "dog", "--stop", ".", "--json"])).json();
    assert_eq!(stopped["finish_reason"], "stop_sequence");
    assert!(!stopped["text"].as_str().unwrap().contains('.'));
    let quantized = sm(&greedy(&gguf, &["One day, Tim", "-n", "10", "--quant", "q8_0"])).success();
    assert!(!quantized.is_empty());
}

#[test]
fn a_closed_standard_output_is_no_error() {
    let Some([_, model]) = stories() else { return };
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_sm"))
        .args(greedy(&model, &["Once", "-n", "50", "-q"]))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), [].as_slice()));
}

#[test]
fn choices_are_printed_below_their_numbers_and_in_an_array() {
    let args = |rest: &[&'static str]| {
        [&["generate", "One day", "-n", "12", "--seed", "3", "-t", "1"], rest].concat()
    };
    let array = sm(&args(&["--choices", "3", "--json"])).json();
    let texts: Vec<&str> =
        array.as_array().unwrap().iter().map(|each| each["text"].as_str().unwrap()).collect();
    let [first, second, third] = texts[..] else { panic!("{array}") };
    assert!(first != second && second != third && first != third, "{array}");
    let expected = format!("--- 1 of 3 ---\n{first}\n--- 2 of 3 ---\n{second}\n--- 3 of 3 ---\n{third}\n");
    for rest in [["--choices", "3", "-q"], ["--choices", "3", "--no-stream"]] {
        assert_eq!(sm(&args(&rest)).success(), expected);
    }
    let echoed = sm(&args(&["--choices", "2", "--echo"])).success();
    assert_eq!(echoed, format!("--- 1 of 2 ---\nOne day{first}\n--- 2 of 2 ---\nOne day{second}\n"));
    let alias = ["--candidates", "3", "--json"];
    assert_eq!(sm(&args(&alias)).json()[1]["text"], array[1]["text"], "the former name of the flag");
    // The first choice is what there is without others, and the best is one of them.
    assert_eq!(sm(&args(&[])).success(), first);
    let best = sm(&args(&["--best-of", "3"])).success();
    assert!(texts.contains(&best.as_str()), "{best}");
    let report = sm(&args(&["--best-of", "3", "--json"])).json();
    assert_eq!(report["text"], best);
    assert!(sm(&args(&["--best-of", "0"])).error(2).contains("--best-of"));
}

#[test]
fn a_whole_context_can_be_filled() {
    let long = "word ".repeat(40);
    for rest in [["--choices", "1"], ["--choices", "3"], ["--best-of", "2"]] {
        let base = ["generate", &long, "-c", "100", "-n", "500", "--ignore-eos", "--json", "-t", "1"];
        let report = sm(&[&base, rest.as_slice()].concat()).json();
        let reports = report.as_array().cloned().unwrap_or_else(|| vec![report]);
        for report in reports {
            assert_eq!(report["finish_reason"], "context_limit", "{report}");
            let n_tokens = report["tokens"].as_array().unwrap().len() as u64;
            assert_eq!(report["prompt_tokens"].as_u64().unwrap() + n_tokens, 100, "{report}");
        }
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_text_with_what_is_there() {
    use std::io::Read;
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_sm"))
        .args(["generate", "Once upon a time", "--ignore-eos", "-n", "1000000", "-t", "1"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 20]).unwrap();
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    std::io::copy(&mut stdout, &mut std::io::sink()).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("cancelled") && stderr.contains("tok/s"), "{stderr}");
}
