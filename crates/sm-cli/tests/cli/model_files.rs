//! What a model's files say beside its weights: recommended sampling, special tokens, vocabularies without weights.

use std::path::Path;

use serde_json::{Value, json};

use crate::run::{Scratch, data, sm, sm_with_input};

/// A tiny random model that recommends how to sample, and one character for each of its tokens.
fn recommending(scratch: &Scratch, generation_config: &Value) -> (String, String) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sm-model/tests/data/arch/llama-gqa");
    for name in ["config.json", "model.safetensors"] {
        scratch.file(name, std::fs::read(source.join(name)).unwrap());
    }
    scratch.file("generation_config.json", generation_config.to_string());
    (scratch.path(""), ('A'..).take(56).collect())
}

#[test]
fn a_model_says_how_to_sample_where_the_user_does_not() {
    let scratch = Scratch::new("recommending");
    let config = json!({"do_sample": true, "temperature": 0.5, "top_k": 1, "repetition_penalty": 1.25});
    let (model, characters) = recommending(&scratch, &config);
    let generate = |options: &[&str]| {
        let base = ["generate", "-m", &model, "--char-tokenizer", &characters, "-n", "8", "ABC"];
        sm(&[&base[..], options].concat())
    };
    let texts = |options: &[&str]| -> Vec<String> {
        let text = |seed: &str| generate(&[options, &["--seed", seed]].concat()).success();
        ["1", "2", "3"].map(text).into()
    };
    let recommended = texts(&[]);
    assert!(
        recommended.iter().all(|text| *text == recommended[0]),
        "top-k 1 leaves no choice: {recommended:?}"
    );
    let own = texts(&["--no-model-defaults"]);
    assert!(own.iter().any(|text| *text != own[0]), "{own:?}");
    let explicit = ["--temp", "0.8", "--top-k", "40", "--repeat-penalty", "1"];
    assert_eq!(texts(&explicit), own, "what is given counts");

    let notes = |options: &[&str]| generate(options).stderr;
    let from_model = " | temp 0.5, top-k 1, repeat-penalty 1.25 from the model";
    assert!(notes(&[]).contains(from_model), "{}", notes(&[]));
    assert!(notes(&["--top-k", "3"]).contains(" | temp 0.5, repeat-penalty 1.25 from the model"));
    assert!(!notes(&["--no-model-defaults"]).contains("from the model"));

    let shown = sm(&["inspect", &model]).success();
    assert!(shown.contains("sampling        temp 0.5, top-k 1, repeat-penalty 1.25\n"), "{shown}");
    assert_eq!(
        sm(&["inspect", &model, "--json"]).json()["sampling"],
        "temp 0.5, top-k 1, repeat-penalty 1.25"
    );
    assert!(!sm(&["inspect", "demo"]).success().contains("sampling"));

    let batch = |line: &str, options: &[&str]| {
        let base = ["batch", "-m", &model, "--char-tokenizer", &characters, "-", "-", "--seed", "1"];
        sm_with_input(&[&base[..], options].concat(), line).json()["text"].as_str().unwrap().to_owned()
    };
    assert_eq!(batch("{\"prompt\": \"ABC\", \"n_tokens\": 8}\n", &[]), recommended[0]);
    let own_line =
        "{\"prompt\": \"ABC\", \"n_tokens\": 8, \"top_k\": 40, \"temp\": 0.8, \"repeat_penalty\": 1}\n";
    assert_eq!(batch(own_line, &[]), own[0]);
}

/// The answers to lines of requests on the demo model.
fn answers(lines: &[Value]) -> Vec<Value> {
    let input: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let output = sm_with_input(&["batch", "-", "-"], &input).success();
    output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn chat(content: &Value) -> Value {
    json!({"messages": [{"role": "user", "content": content}], "n_tokens": 1})
}

#[test]
fn control_tokens_in_messages_are_text_unless_asked_for() {
    let parts = |parse: bool| json!([{"type": "text", "text": "<|end|>", "parse_special": parse}]);
    let contents = [json!("x"), json!("<|end|>"), parts(false), parts(true)];
    let answers = answers(&contents.map(|content| chat(&content)));
    let n_tokens: Vec<u64> =
        answers.iter().map(|answer| answer["usage"]["prompt_tokens"].as_u64().unwrap()).collect();
    let plain = sm(&["tokenize", "--plain", "--json", "<|end|>"]).json().as_array().unwrap().len() as u64;
    assert!(plain > 1);
    assert_eq!(n_tokens, [n_tokens[0], n_tokens[0] - 1 + plain, n_tokens[0] - 1 + plain, n_tokens[0]]);
}

#[test]
fn parts_are_text_and_other_contents_are_refused() {
    let question = "What is 2 + 2?";
    let split = json!([{"type": "text", "text": "What is"}, {"type": "text", "text": " 2 + 2?"}]);
    let contents = [json!(question), json!([{"type": "text", "text": question}]), split];
    let lines =
        contents.map(|content| json!({"messages": [{"role": "user", "content": content}], "temp": 0}));
    let texts: Vec<_> = answers(&lines).into_iter().map(|answer| answer["text"].clone()).collect();
    assert!(texts[0].as_str().unwrap().contains("Answer: 4"), "{texts:?}");
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
    let refused =
        answers(&[Value::Null, json!(4), json!([{"type": "image_url"}])].map(|content| chat(&content)));
    for answer in refused {
        let message = answer["error"].to_string();
        assert!(message.contains("the content of message 0 (user)"), "{answer}");
    }
}

#[test]
fn a_stop_string_that_is_a_special_token_ends_the_text() {
    let ids = sm(&["tokenize", "<|user|>", "--json"]).json();
    let user = ids.as_array().unwrap().last().unwrap();
    let line =
        |stop: &str| json!({"prompt": "x", "allowed_tokens": [user], "n_tokens": 6, "stop": stop, "temp": 0});
    let answers = answers(&[line("<|user|>"), line("<|user|>\n"), line("no")]);
    assert_eq!(answers[0]["finish_reason"], "stop_sequence");
    assert_eq!((&answers[0]["text"], &answers[0]["tokens"]), (&json!(""), &json!([])));
    // No line follows the token.
    assert_eq!(answers[1]["finish_reason"], "length");
    assert_eq!(answers[2]["finish_reason"], "length");
}

#[test]
fn the_beginning_of_a_prompt_is_marked_once() {
    let Some(data) = data() else { return };
    let model = data.join("models/stories260K/hf");
    let model = model.to_str().unwrap();
    let run = |prompt: &str| sm(&["generate", "-m", model, "-n", "5", "--temp", "0", "--json", prompt]);
    let (plain, marked) = (run("Once"), run("<s>Once"));
    assert!(
        marked.stderr.contains("the prompt begins with <s>, which the model adds itself"),
        "{}",
        marked.stderr
    );
    assert!(!plain.stderr.contains("adds itself"));
    let (plain, marked) = (plain.json(), marked.json());
    assert_eq!((&plain["tokens"], &plain["prompt_tokens"]), (&marked["tokens"], &marked["prompt_tokens"]));
}

#[test]
fn a_vocabulary_is_enough_to_tokenize() {
    let Some(data) = data() else { return };
    let vocabulary = data.join("tokenizers/gguf-vocab/ggml-vocab-gpt-2.gguf");
    let directory = data.join("tokenizers/gpt2");
    let ids = |path: &Path| sm(&["tokenize", "-m", path.to_str().unwrap(), "--json", "Hello world"]).json();
    assert_eq!(ids(&vocabulary), ids(&directory));
    assert_eq!(ids(&directory), json!([15496, 995]));
    let text = sm(&["detokenize", "-m", vocabulary.to_str().unwrap(), "15496", "995"]).success();
    assert_eq!(text.trim_end(), "Hello world");
}

/// The bytes with every `from` replaced by `to`, of the same length.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for at in 0..=bytes.len() - from.len() {
        if bytes[at..].starts_with(from) {
            bytes[at..at + to.len()].copy_from_slice(to);
        }
    }
    bytes
}

#[test]
fn inspect_shows_the_files_of_models_that_are_not_supported() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sm-model/tests/data/arch/llama-gqa");
    let scratch = Scratch::new("unsupported");
    let gguf = std::fs::read(golden.join("model.gguf")).unwrap();
    scratch.file("new.gguf", replaced(&gguf, b"llama", b"newer"));
    let new = scratch.path("new.gguf");
    let shown = sm(&["inspect", &new]);
    assert!(shown.stderr.contains("unknown architecture \"newer\""), "{}", shown.stderr);
    let shown = shown.success();
    assert!(shown.contains("  general.architecture = \"newer\"\n  general.name = "), "{shown}");
    assert!(shown.contains("  newer.block_count = 2\n"), "{shown}");
    assert!(shown.contains("  blk.0.attn_k.weight: f32 [16, 32], 2.00 KiB\n"), "{shown}");
    let report = sm(&["inspect", &new, "--json"]).json();
    assert_eq!(report["architecture"], "newer");
    assert!(report["unsupported"].as_str().unwrap().contains("unknown architecture \"newer\""));
    assert_eq!(report["metadata"]["newer.context_length"], 256);
    let tensors = report["tensors"].as_array().unwrap();
    assert_eq!(report["dtypes"], json!({ "f32": tensors.len() }));
    assert!(sm(&["inspect", &new, "--plan"]).error(1).contains("unknown architecture"));

    let config = std::fs::read(golden.join("config.json")).unwrap();
    scratch.file("config.json", replaced(&config, b"LlamaForCausalLM", b"NewerForCausalLM"));
    scratch.file("model.safetensors", std::fs::read(golden.join("model.safetensors")).unwrap());
    std::fs::remove_file(&new).unwrap();
    let report = sm(&["inspect", &scratch.path(""), "--json"]).json();
    assert_eq!(report["architecture"], "NewerForCausalLM");
    assert_eq!(report["metadata"]["hidden_size"], 32);
    assert!(report["tensors"].as_array().unwrap().iter().any(|tensor| tensor["name"] == "model.norm.weight"));

    scratch.file("cut.gguf", &gguf[..gguf.len() / 2]);
    sm(&["inspect", &scratch.path("cut.gguf")]).error(1);
}

#[test]
fn inspect_lists_the_contents_of_supported_models_too() {
    let golden =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../sm-model/tests/data/arch/llama-gqa/model.gguf");
    let model = golden.to_str().unwrap();
    let plain = sm(&["inspect", model]).success();
    let all = sm(&["inspect", model, "--contents"]).success();
    let added = all.strip_prefix(&plain).unwrap();
    assert!(added.starts_with("metadata\n") && added.contains("\ntensors\n"), "{added}");
    assert!(
        added.contains("  llama.block_count = 2\n") && added.contains("  output_norm.weight: f32 [32]"),
        "{added}"
    );
    let report = sm(&["inspect", "demo", "--json"]).json();
    let tokens = &report["metadata"]["tokenizer.ggml.tokens"];
    assert_eq!(
        (tokens["length"].as_u64(), tokens["first"].as_array().map(Vec::len)),
        (report["vocab_size"].as_u64(), Some(16))
    );
}

#[test]
fn quantized_checkpoints_say_what_becomes_of_them() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sm-model/tests/data/quantized/models");
    let model = |name: &str| models.join(name).to_str().unwrap().to_owned();
    let shown = sm(&["inspect", &model("llama-awq")]).success();
    assert!(shown.contains("quantized       7 matrices: awq 4-bit, groups of 32, read as q5_0\n"), "{shown}");
    assert!(!shown.contains("notes"), "{shown}");
    let report = sm(&["inspect", &model("qwen3-fp8"), "--json"]).json();
    let tensor = |name: &str| -> Value {
        let tensors = report["tensors"].as_array().unwrap();
        tensors.iter().find(|tensor| tensor["name"] == name).unwrap().clone()
    };
    let up = tensor("model.layers.0.mlp.up_proj.weight");
    // Bytes of the file: one for each value, and two for each scale of 3 × 1 blocks.
    let expected = json!({"name": up["name"], "dtype": "bf16", "stored": "fp8 e4m3, blocks of 32×64", "shape": [96, 64], "bytes": 96 * 64 + 6});
    assert_eq!(up, expected);
    assert_eq!(tensor("lm_head.weight").get("stored"), None);
    let rounded = "7 of 7 quantized matrices (fp8 e4m3, blocks of 32×64) became bf16, each value rounded once: no block format has fp8 values";
    assert_eq!(report["notes"][0], rounded);
    let characters: String = ('A'..).take(48).collect();
    let base = ["generate", "-m", &model("qwen3-fp8"), "--char-tokenizer", &characters, "-n", "3", "ABC"];
    let notes = sm(&base).stderr;
    assert!(notes.contains(rounded) && notes.contains("made for quantized activations"), "{notes}");
    assert!(!sm(&[&base[..], &["--quiet"]].concat()).stderr.contains("rounded"));
}
