//! The tools around a model: inspect, quantize, tokenize, perplexity, doctor, completions.

use serde_json::{Value, json};

use crate::run::{Scratch, data, reference, sm, sm_in, sm_with_input, stories};

#[test]
fn tokenize_and_detokenize_are_inverse() {
    let Some(models) = stories() else { return };
    let reference = reference("tim.json");
    let prompt = reference["prompt"].as_str().unwrap();
    for model in &models {
        let ids = sm(&["tokenize", "-m", model, prompt, "--json"]).json();
        assert_eq!(ids, reference["prompt_ids"], "{model}");
        let ids: Vec<String> = ids.as_array().unwrap().iter().map(Value::to_string).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let text = sm(&[&["detokenize", "-m", model], ids.as_slice()].concat()).success();
        assert_eq!(text.trim_end_matches('\n'), prompt, "{model}");
        let list = sm_with_input(&["tokenize", "-m", model], prompt).success();
        assert_eq!(list.lines().count(), ids.len(), "{list}");
        assert!(list.contains("385"), "{list}");
    }
}

#[test]
fn a_file_in_the_current_directory_is_found_with_what_lies_beside_it() {
    let Some([directory, _]) = stories() else { return };
    for file in ["model.safetensors", "stories260K-f32.gguf", "."] {
        let ids = sm_in(&directory, &["tokenize", "-m", file, "One day", "--json"]).json();
        assert_eq!(ids, json!([1, 385, 328]), "{file}");
    }
}

#[test]
fn a_model_without_tokenizer_says_so() {
    let Some(data) = data() else { return };
    let model = data.join("models/smnd/demo-model.smnd");
    let message = sm(&["generate", "-m", model.to_str().unwrap(), "hello"]).error(1);
    assert!(message.contains("tokenizer"), "{message}");
    let rows = sm(&["bench", "-m", model.to_str().unwrap(), "-p", "8", "-n", "0", "-r", "1", "-o", "jsonl"])
        .success();
    assert_eq!(rows.lines().count(), 1);
}

#[test]
fn an_attached_tokenizer_gives_a_model_text() {
    let Some(data) = data() else { return };
    let model = data.join("models/smnd/demo-model.smnd");
    let model = model.to_str().unwrap();
    // It has 50 tokens.
    let characters: String = ('A'..='Z').chain('a'..='x').collect();
    let args = ["-m", model, "--char-tokenizer", &characters, "-t", "1"];
    let options = ["--temp", "0", "-n", "8", "--json"];
    let report = sm(&[&["generate", "Hello"], &args[..], &options[..]].concat()).json();
    assert_eq!(report["text"].as_str().unwrap().chars().count(), 8, "{report}");
    assert_eq!(report["prompt_tokens"], 5);
    let requests = "{\"prompt\": \"Hello\", \"n_tokens\": 8, \"temp\": 0}\n";
    let answer = sm_with_input(&[&["batch"], &args[..], &["-", "-"]].concat(), requests).json();
    assert_eq!((&answer["text"], &answer["tokens"]), (&report["text"], &report["tokens"]));
    let ids = sm(&["tokenize", "--char-tokenizer", &characters, "--json", "AZa"]).json();
    assert_eq!(ids, json!([0, 25, 26]));
    let text = sm(&["detokenize", "--char-tokenizer", &characters, "0", "25", "26"]).success();
    assert_eq!(text, "AZa");
    let refused = sm(&["generate", "x", "-m", model, "--char-tokenizer", "abc"]).error(1);
    assert!(refused.contains('3') && refused.contains("50"), "{refused}");
    let empty = sm(&["generate", "x", "-m", model, "--char-tokenizer", ""]).error(2);
    assert!(empty.contains("--char-tokenizer"), "{empty}");
    let Some([stories, _]) = stories() else { return };
    let refused = sm(&["generate", "x", "-m", model, "--tokenizer", &stories]).error(1);
    assert!(refused.contains("512") && refused.contains("50"), "{refused}");
    let tokenizer = format!("{stories}/tokenizer.json");
    let ids = sm(&["tokenize", "--tokenizer", &tokenizer, "One day", "--json"]).json();
    assert_eq!(ids, json!([1, 385, 328]));
}

#[test]
fn devices_are_chosen_by_name() {
    let story = ["generate", "Once upon a time", "-n", "8", "--seed", "5", "-q"];
    let text = sm(&story).success();
    for device in [
        &["--device", "auto"][..],
        &["--device", "cpu:2"],
        &["--device", "cpu:scalar", "-t", "1"],
        &["--isa", "scalar"],
    ] {
        assert_eq!(sm(&[&story, device].concat()).success(), text, "{device:?}");
    }
    for (device, part) in [
        (&["--device", "gpu:99"][..], "no GPU"),
        (&["--device", "gpu:1", "-t", "2"], "-t"),
        (&["--device", "cpu:mmx"], "mmx"),
        (&["--device", "npu"], "gpu:INDEX"),
    ] {
        let outcome = sm(&[&story, device].concat());
        assert_eq!(outcome.code, 2, "{device:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(part), "{device:?}: {}", outcome.stderr);
    }
}

#[test]
fn detokenize_refuses_ids_beyond_the_vocabulary() {
    let Some([model, _]) = stories() else { return };
    let message = sm(&["detokenize", "-m", &model, "5", "512"]).error(1);
    assert!(message.contains("512") && message.contains("511"), "{message}");
}

#[test]
fn inspect_tells_the_shape_of_a_model() {
    let Some(models) = stories() else { return };
    // The GGUF file holds the shared embedding a second time, as the head.
    for (model, parameters) in models.iter().zip([260_032, 260_032 + 512 * 64]) {
        let report = sm(&["inspect", model, "--json"]).json();
        assert_eq!(report["architecture"], "llama", "{report}");
        assert_eq!(report["parameters"], parameters, "{report}");
        assert_eq!(report["context_length"], 512);
        assert_eq!(report["dtypes"], json!({"f32": report["tensors"].as_array().unwrap().len()}));
        let text = sm(&["inspect", model]).success();
        assert!(text.contains("llama") && text.contains("512"), "{text}");
        let plan = sm(&["inspect", model, "--plan"]).success();
        assert!(plan.to_lowercase().contains("attention"), "{plan}");
    }
}

#[test]
fn a_quantized_file_predicts_as_quantizing_on_load_does() {
    let Some([directory, gguf]) = stories() else { return };
    let scratch = Scratch::new("quantize");
    let stories = std::fs::read(data().unwrap().join("text/tinystories_sample_2MiB.txt")).unwrap();
    let text = scratch.file("stories.txt", &stories[..20_000]);
    let measure = |model: &str, options: &[&str]| {
        let command = ["perplexity", "-m", model, &text, "--split", "<|endoftext|>", "--json", "-t", "1"];
        let report = sm(&[&command, options].concat()).json();
        assert!(
            report["tokens"].as_u64().unwrap() > 1000 && report["documents"].as_u64().unwrap() > 5,
            "{report}"
        );
        let (perplexity, nll) = (report["perplexity"].as_f64().unwrap(), report["nll"].as_f64().unwrap());
        assert!((nll.exp() - perplexity).abs() < 1e-9);
        perplexity
    };
    let original = measure(&gguf, &[]);
    assert!((3.0..6.0).contains(&original), "{original}");
    let on_load = measure(&gguf, &["--quant", "q4_0"]);
    for (i, source) in [directory, gguf].iter().enumerate() {
        let out = scratch.path(&format!("q8-{i}.gguf"));
        sm(&["quantize", source, &out, "--type", "q8_0"]).success();
        assert!((measure(&out, &[]) / original - 1.0).abs() < 0.005);
        let refused = sm(&["quantize", source, &out, "--type", "q8_0"]).error(1);
        assert!(refused.contains("--force"), "{refused}");
        sm(&["quantize", source, &out, "--type", "Q4_0", "--pure", "--force"]).success();
        assert_eq!(measure(&out, &[]), on_load, "{source}");
    }
}

#[test]
fn perplexity_of_the_published_slice_is_that_of_the_reference() {
    let Some([directory, _]) = stories() else { return };
    let scratch = Scratch::new("perplexity-slice");
    let sample = std::fs::read(data().unwrap().join("text/tinystories_sample_2MiB.txt")).unwrap();
    let slice = scratch.file("slice.txt", &sample[..261_552]);
    let report = sm(&["perplexity", "-m", &directory, &slice, "--split", "<|endoftext|>", "--json"]).json();
    assert_eq!((&report["documents"], &report["tokens"]), (&json!(316), &json!(127_918)), "{report}");
    assert!((report["perplexity"].as_f64().unwrap() - 4.51223).abs() <= 0.0005, "{report}");
}

#[test]
fn the_last_document_counts_with_or_without_a_separator_behind_it() {
    let Some([model, _]) = stories() else { return };
    let scratch = Scratch::new("perplexity-last");
    let measure = |text: &str| {
        let file = scratch.file("documents.txt", text);
        sm(&["perplexity", "-m", &model, &file, "--split", "|", "--json"]).json()
    };
    let report = measure("Once upon a time|There was a cat.");
    assert_eq!(report["documents"], 2, "{report}");
    assert_eq!(measure("Once upon a time|There was a cat.|\n"), report);
    let none = scratch.file("documents.txt", "Once");
    let error = sm(&["perplexity", "-m", &model, &none, "--split", ""]).error(1);
    assert!(error.contains("split"), "{error}");
}

#[test]
fn perplexity_of_nothing_is_an_error() {
    let Some([model, _]) = stories() else { return };
    let scratch = Scratch::new("perplexity-of-nothing");
    let empty = scratch.file("empty.txt", "");
    sm(&["perplexity", "-m", &model, &empty]).error(1);
}

#[test]
fn doctor_tells_what_would_run() {
    let report = sm(&["doctor", "--json"]).json();
    for name in ["version", "cpu", "memory", "gpu", "would_run"] {
        assert!(!report[name].is_null(), "{name}: {report}");
    }
    let text = sm(&["doctor"]).success();
    assert!(text.contains("would run") && text.contains("gpu"), "{text}");
}

#[test]
fn completions_know_every_command() {
    let script = sm(&["completions", "bash"]).success();
    for command in [
        "generate",
        "chat",
        "batch",
        "embed",
        "perplexity",
        "inspect",
        "quantize",
        "tokenize",
        "detokenize",
        "bench",
        "doctor",
    ] {
        assert!(script.contains(command), "{command}");
        let help = sm(&[command, "--help"]).success();
        assert!(help.contains("Examples:"), "{help}");
    }
}
