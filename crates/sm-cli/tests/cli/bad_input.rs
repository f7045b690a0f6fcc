//! Wrong files and wrong values: one clear line, an exit code, never a panic.

use crate::run::{Scratch, sm, sm_with_input, stories};

/// A command line and what its message must contain.
type Case<'a> = (Vec<&'a str>, i32, &'a [&'a str]);

#[track_caller]
fn check(cases: &[Case<'_>]) {
    for (args, code, parts) in cases {
        let message = sm(args).error(*code);
        for part in *parts {
            assert!(
                message.to_lowercase().contains(&part.to_lowercase()),
                "{args:?}: no {part:?} in {message}"
            );
        }
    }
}

#[test]
fn broken_model_files_are_named_with_what_is_wrong() {
    let Some([_, gguf]) = stories() else { return };
    let scratch = Scratch::new("broken-models");
    let bytes = std::fs::read(gguf).unwrap();
    let missing = scratch.path("no.gguf");
    let empty = scratch.file("empty.gguf", b"");
    let cut_head = scratch.file("cut-head.gguf", &bytes[..1000]);
    let cut_data = scratch.file("cut-data.gguf", &bytes[..bytes.len() - 1000]);
    let magic = scratch.file("magic.gguf", [b"GGML".as_slice(), &bytes[4..]].concat());
    let mut huge_count = bytes.clone();
    huge_count[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    let huge_count = scratch.file("huge-count.gguf", &huge_count);
    let text = scratch.file("text.gguf", "this is a text and no model at all\n");
    for command in [vec!["generate", "x", "-m"], vec!["inspect"], vec!["tokenize", "x", "-m"]] {
        let with = |path| [command.as_slice(), &[path]].concat();
        check(&[
            (with(&missing), 1, &["no.gguf", "no such file"]),
            (with(&empty), 1, &["empty.gguf"]),
            (with(&cut_head), 1, &["cut-head.gguf", "truncated"]),
            (with(&cut_data), 1, &["cut-data.gguf", "bytes"]),
            (with(&magic), 1, &["magic.gguf"]),
            (with(&huge_count), 1, &["huge-count.gguf"]),
            (with(&text), 1, &["text.gguf"]),
        ]);
    }
}

/// A model directory with one file changed.
fn changed(scratch: &Scratch, name: &str, file: &str, contents: &[u8]) -> String {
    let Some([directory, _]) = stories() else { unreachable!("the caller looked") };
    for original in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        let bytes = std::fs::read(format!("{directory}/{original}")).unwrap();
        scratch.file(&format!("{name}/{original}"), bytes);
    }
    scratch.file(&format!("{name}/{file}"), contents);
    scratch.path(name)
}

#[test]
fn broken_model_directories_are_named_with_what_is_wrong() {
    let Some([directory, _]) = stories() else { return };
    let scratch = Scratch::new("broken-directories");
    let read = |name: &str| std::fs::read(format!("{directory}/{name}")).unwrap();
    let config = String::from_utf8(read("config.json")).unwrap();
    let edited = |from: &str, to: &str| config.replace(from, to).into_bytes();
    let unknown = edited("\"llama\"", "\"krokodil\"");
    let unknown = String::from_utf8(unknown).unwrap().replace("LlamaForCausalLM", "KrokodilForCausalLM");
    let unknown = changed(&scratch, "unknown", "config.json", unknown.as_bytes());
    let shape =
        changed(&scratch, "shape", "config.json", &edited("\"hidden_size\": 64", "\"hidden_size\": 128"));
    let zero = changed(
        &scratch,
        "zero",
        "config.json",
        &edited("\"num_attention_heads\": 8", "\"num_attention_heads\": 0"),
    );
    let no_json = changed(&scratch, "no-json", "config.json", b"{ \"model_type\": ");
    let weights = read("model.safetensors");
    let cut = changed(&scratch, "cut", "model.safetensors", &weights[..weights.len() / 2]);
    let tokenizer = changed(&scratch, "tokenizer", "tokenizer.json", b"{}");
    let index = br#"{"metadata": {}, "weight_map": {"model.embed_tokens.weight": "model-00001-of-00002.safetensors"}}"#;
    let shard = changed(&scratch, "shard", "model.safetensors.index.json", index);
    std::fs::remove_file(format!("{shard}/model.safetensors")).unwrap();
    scratch.file("nothing/readme.txt", "");
    let nothing = scratch.path("nothing");
    let on = |path| vec!["generate", "-m", path, "x"];
    check(&[
        (on(&unknown), 1, &["krokodil", "llama", "supported"]),
        (on(&shape), 1, &["64", "128"]),
        (on(&zero), 1, &["num_attention_heads", "0"]),
        (on(&no_json), 1, &["config.json"]),
        (on(&cut), 1, &["model.safetensors", "bytes"]),
        (on(&tokenizer), 1, &["tokenizer.json"]),
        (on(&shard), 1, &["model-00001-of-00002.safetensors", "missing"]),
        (on(&nothing), 1, &["nothing"]),
    ]);
}

#[test]
fn prompts_that_do_not_fit_are_refused_with_the_numbers() {
    let Some([model, _]) = stories() else { return };
    let long = "one two three ".repeat(400);
    let message = sm_with_input(&["generate", "-m", &model], &long).error(1);
    assert!(message.contains("512"), "{message}");
    check(&[
        (vec!["generate", "-m", &model, "-c", "4", "One day, Tim and his dog"], 1, &["4", "context"]),
        (vec!["generate", "-m", &model, "-c", "100000", "One"], 1, &["100000", "512"]),
    ]);
}

#[test]
fn text_that_is_not_utf8_is_refused_with_its_place() {
    let scratch = Scratch::new("not-utf8");
    let file = scratch.file("latin1.txt", b"caf\xe9 au lait");
    check(&[
        (vec!["generate", "-m", "x.gguf", "-f", &file], 1, &["latin1.txt", "UTF-8", "byte 3"]),
        (vec!["perplexity", "-m", "x.gguf", &file], 1, &["latin1.txt", "UTF-8", "byte 3"]),
    ]);
}

#[test]
fn impossible_values_name_the_option() {
    let Some([model, _]) = stories() else { return };
    for (option, value) in [
        ("--temp", "-1"),
        ("--temp", "nan"),
        ("--top-p", "1.5"),
        ("--top-p", "-0.1"),
        ("--min-p", "2"),
        ("--repeat-penalty", "0"),
        ("--presence-penalty", "inf"),
        ("--frequency-penalty", "nan"),
        ("-n", "0"),
        ("--stop", ""),
    ] {
        check(&[(vec!["generate", "-m", &model, "x", option, value], 2, &[option])]);
    }
    for (option, value) in
        [("--top-k", "-2"), ("-t", "0"), ("--quant", "q9_9"), ("--seed", "x"), ("--kv-type", "q1")]
    {
        let outcome = sm(&["generate", "-m", &model, "x", option, value]);
        assert_eq!(outcome.code, 2, "{option} {value}: {}", outcome.stderr);
        assert!(
            outcome.stderr.starts_with("error: ") && outcome.stderr.contains(option),
            "{}",
            outcome.stderr
        );
    }
}

#[test]
fn an_unknown_command_is_a_usage_error() {
    assert_eq!(sm(&["genrate"]).code, 2);
    assert_eq!(sm(&[]).code, 2);
}
