//! Spellings that people know from elsewhere, and options of the library as flags.

use serde_json::Value;

use crate::run::{Scratch, sm, sm_with_input, stories};

/// Arguments of `sm generate` on the demo model.
fn generate<'a>(rest: &[&'a str]) -> Vec<&'a str> {
    [&["generate", "-t", "1", "-q"], rest].concat()
}

#[test]
fn spellings_of_llama_cpp_do_the_same() {
    let scratch = Scratch::new("familiar");
    let schema = scratch.file("schema.json", r#"{"const": "yes"}"#);
    for (ours, theirs) in [
        (vec!["Once upon", "-n", "9", "--seed", "3"], vec!["-p", "Once upon", "--n-predict", "9", "-s", "3"]),
        (
            vec!["Once upon", "-n", "9", "--temp", "0"],
            vec!["--prompt", "Once upon", "--max-tokens", "9", "--temperature", "0"],
        ),
        (
            vec!["Once", "-n", "9", "--seed", "1", "--top-k", "0"],
            vec!["Once", "--predict", "9", "--seed", "1", "--top-k", "-1"],
        ),
        (
            vec!["Once", "-n", "30", "--temp", "0", "--stop", "a"],
            vec!["Once", "-n", "30", "--temp", "0", "-r", "a"],
        ),
        (
            vec!["Once", "-n", "9", "--temp", "0", "-c", "64"],
            vec!["Once", "-n", "9", "--temp", "0", "--ctx-size", "64"],
        ),
        (
            vec!["Once", "-n", "9", "--temp", "0", "--kv-type", "q8_0"],
            vec!["Once", "-n", "9", "--temp", "0", "-ctk", "q8_0", "-ctv", "q8_0"],
        ),
        (vec!["Once", "--temp", "0", "--json-schema", &schema], vec!["Once", "--temp", "0", "-jf", &schema]),
        (
            vec!["Once", "--temp", "0", "--json-schema", &schema],
            vec!["Once", "--temp", "0", "-j", r#"{"const": "yes"}"#],
        ),
        (
            vec!["--chat", "--system", "Be brief.", "Hi", "-n", "5", "--temp", "0"],
            vec!["--chat", "-sys", "Be brief.", "Hi", "-n", "5", "--temp", "0"],
        ),
        (
            vec!["Once", "-n", "9", "--temp", "0", "--draft", "demo-draft"],
            vec!["Once", "-n", "9", "--temp", "0", "-md", "demo-draft"],
        ),
    ] {
        let expected = sm(&generate(&ours)).success();
        assert_eq!(sm(&generate(&theirs)).success(), expected, "{theirs:?}");
        assert!(!expected.is_empty());
    }
}

#[test]
fn minus_one_and_zero_mean_what_they_do_in_llama_cpp() {
    let seeds = [(); 2]
        .map(|()| sm(&generate(&["Once", "-n", "2", "--seed", "-1", "--json"])).json()["seed"].clone());
    assert_ne!(seeds[0], seeds[1]);
    let whole = sm(&generate(&["Once", "-n", "-1", "-c", "40", "--ignore-eos", "--json"])).json();
    assert_eq!(whole["finish_reason"], "context_limit");
    let own = sm(&generate(&["Once", "-n", "-1", "-c", "0", "--ignore-eos", "--temp", "0", "--json"])).json();
    let context: u64 = sm(&["inspect", "demo", "--json"]).json()["context_length"].as_u64().unwrap();
    let n_tokens = own["tokens"].as_array().unwrap().len() as u64 + own["prompt_tokens"].as_u64().unwrap();
    assert_eq!(n_tokens, context);
}

#[test]
fn what_does_not_exist_is_a_usage_error_with_one_sentence() {
    for (args, part) in [
        (&["chat", "-fa"] as &[&str], "flash attention"),
        (&["chat", "-hff", "x.gguf"], "-hf ORG/NAME:FILE.gguf"),
        (&["generate", "--mlock", "x"], "--memory-limit"),
        (&["generate", "--numa", "distribute", "x"], "numactl"),
        (&["ps"], "sm serve"),
    ] {
        let message = sm(args).error(2);
        assert!(message.contains(part), "{args:?}: {message}");
    }
    let help = sm(&["--help"]).success();
    assert!(!help.contains("  run ") && help.contains("pull"), "{help}");
}

#[test]
fn run_and_show_are_chat_and_inspect() {
    let asked =
        sm(&["run", "demo", "What is", "17 + 25?", "--temp", "0", "-t", "1", "-q", "--no-history"]).success();
    let chatted = ["chat", "--temp", "0", "-t", "1", "-q", "--no-history"];
    assert_eq!(asked, sm_with_input(&chatted, "What is 17 + 25?\n").success());
    assert!(asked.contains("42"), "{asked}");
    let piped =
        sm_with_input(&["run", "demo", "--temp", "0", "-t", "1", "-q"], "What is 17 + 25?\n").success();
    assert_eq!(piped, asked);
    let inspected = sm(&["inspect", "demo"]).success();
    assert_eq!(sm(&["show", "demo"]).success(), inspected);
    assert_eq!(sm(&["inspect", "-m", "demo"]).success(), inspected);
}

#[test]
fn quantize_takes_the_model_as_an_option_too() {
    let scratch = Scratch::new("quantize-m");
    let [one, other] = ["a.gguf", "b.gguf"].map(|name| scratch.path(name));
    sm(&["quantize", "demo", &one, "--type", "q8_0"]).success();
    sm(&["quantize", "-m", "demo", &other, "--type", "q8_0"]).success();
    assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&other).unwrap());
    assert_eq!(sm(&["quantize", "demo", "--type", "q8_0"]).code, 2);
}

#[test]
fn types_that_are_only_read_cannot_be_written() {
    let scratch = Scratch::new("quantize-read-only");
    let run = sm(&["quantize", "demo", &scratch.path("m.gguf"), "--type", "iq2_xxs"]);
    let listed = run.stderr.split("possible values").nth(1).unwrap_or_default();
    assert!(listed.contains("iq4_xs") && !listed.contains("iq2_xxs"), "{}", run.stderr);
    assert!(run.error(2).contains("'iq2_xxs'"));
}

#[test]
fn piped_input_follows_the_prompt() {
    let expected = sm(&generate(&["Summarize:\nOnce upon a time", "--temp", "0", "-n", "9"])).success();
    let args = generate(&["Summarize:", "--temp", "0", "-n", "9"]);
    assert_eq!(sm_with_input(&args, "Once upon a time\n").success(), expected);
    let escaped = generate(&["-e", r"Summarize:\nOnce upon a time", "--temp", "0", "-n", "9"]);
    assert_eq!(sm(&escaped).success(), expected);
}

#[test]
fn options_of_the_library_have_flags() {
    let json = |rest: &[&str]| sm(&generate(&[&["Once", "--json", "--temp", "0"], rest].concat())).json();
    let plain = json(&["-n", "6"]);
    let first = plain["tokens"][0].as_u64().unwrap().to_string();
    let forbidden = json(&["-n", "6", "--logit-bias", &format!("{first}-inf")]);
    assert_ne!(forbidden["tokens"][0], plain["tokens"][0]);
    assert_eq!(json(&["-n", "6", "--stop-token", &first])["finish_reason"], "stop");
    let bound = json(&["-n", "6", "--stop-token", &first, "--min-tokens", "4"]);
    assert!(bound["tokens"].as_array().unwrap().len() >= 4, "{bound}");
    assert_eq!(
        json(&["-n", "3", "--allow-token", &first])["tokens"].as_array().unwrap(),
        &vec![plain["tokens"][0].clone(); 3]
    );
    let scored = json(&["-n", "2", "--logprobs", "2", "--prompt-logprobs", "1"]);
    assert_eq!(scored["logprobs"][0]["top"].as_array().unwrap().len(), 2);
    assert!(!scored["prompt_logprobs"].as_array().unwrap().is_empty());
    assert_eq!(json(&["--max-length", "9"])["finish_reason"], "length");
    let word = plain["text"].as_str().unwrap().trim().chars().next().unwrap().to_string();
    let without = json(&["-n", "30", "--bad-word", &word]);
    assert!(!without["text"].as_str().unwrap().contains(&word), "{without}");
    let refused = sm(&generate(&["Once upon a time", "--max-prompt-tokens", "1"])).error(1);
    assert!(refused.contains("max_input_tokens"), "{refused}");
    json(&["-n", "2", "--max-prompt-tokens", "1", "--keep-tail", "--max-time-ms", "60000"]);
}

#[test]
fn every_sampler_has_a_flag_and_keeps_to_its_seed() {
    let text = |rest: &[&str]| {
        sm(&generate(&[&["Once upon a time", "-n", "24", "--seed", "5"], rest].concat())).success()
    };
    let plain = text(&[]);
    for flags in [
        &["--top-nsigma", "0.3"] as &[&str],
        &["--typical", "0.2"],
        &["--xtc-probability", "1", "--xtc-threshold", "0.05"],
        &["--dry-multiplier", "50", "--dry-allowed-length", "0", "--dry-sequence-breaker", "none"],
        &["--dynatemp-range", "0.7", "--dynatemp-exp", "0.5"],
        &["--mirostat", "2", "--mirostat-ent", "1", "--mirostat-lr", "0.5"],
        &["--samplers", "top_k;temperature", "--temp", "2.5"],
        &["--repeat-penalty", "1.8", "--repeat-last-n", "8"],
    ] {
        let once = text(flags);
        assert_ne!(once, plain, "{flags:?}");
        assert_eq!(text(flags), once, "{flags:?}");
        assert_eq!(text(&[flags, &["--lookup"]].concat()), once, "{flags:?} with lookup");
    }
    for (flags, part) in [
        (&["--samplers", "top_k", "--min-p", "0.1"] as &[&str], "--min-p"),
        (&["--mirostat", "2", "--typical", "0.5"], "--typical"),
        (&["--xtc-probability", "2"], "--xtc-probability"),
        (&["--dry-base", "0.5"], "--dry-base"),
    ] {
        let message = sm(&generate(&[&["x"], flags].concat())).error(2);
        assert!(message.contains(part), "{message}");
    }
    assert!(sm(&generate(&["x", "--samplers", "top"])).stderr.contains("penalties, dry"));
    assert!(sm(&generate(&["x", "--mirostat", "1"])).stderr.contains("use 2"));
}

#[test]
fn impossible_numbers_are_refused_in_plain_words() {
    for args in [
        &["--top-k", "x"] as &[&str],
        &["--top-k", "-2"],
        &["-n", "1.5"],
        &["-t", "0"],
        &["-c", "-1"],
        &["--temp", "hot"],
        &["--seed", "1.5"],
        &["--seed", "99999999999999999999999"],
        &["--memory-limit", "much"],
        &["--logit-bias", "a=b"],
        &["--choices", "0"],
    ] {
        let outcome = sm(&generate(&[&["x"], args].concat()));
        assert_eq!(outcome.code, 2, "{args:?}");
        for word in ["usize", "u64", "u32", "f32", "literal", "invalid digit", "NonZero", "parse"] {
            assert!(!outcome.stderr.contains(word), "{args:?}: {}", outcome.stderr);
        }
        assert!(outcome.stderr.contains(args[0]), "{}", outcome.stderr);
    }
}

#[test]
fn sizes_have_units() {
    for size in ["1GB", "1.5G", "900mib"] {
        sm(&generate(&["x", "-n", "1", "--memory-limit", size])).success();
    }
    assert!(sm(&generate(&["x", "-n", "1", "--memory-limit", "1.5K"])).error(1).contains("1.50 KB"));
}

#[test]
fn names_of_files_do_not_reach_the_terminal_raw() {
    for args in [vec!["inspect", "no\u{1b}[31mhere.gguf"], vec!["tokenize", "-f", "no\u{1b}]0;here"]] {
        let outcome = sm(&args);
        assert!(
            !outcome.stderr.contains('\u{1b}') && outcome.stderr.contains("here"),
            "{:?}",
            outcome.stderr
        );
    }
}

#[test]
fn a_chat_template_can_be_chosen() {
    let scratch = Scratch::new("templates");
    let file = scratch.file("t.jinja", "{{ messages[0].content }}{{ greeting }}{{ tools | length }}");
    let tools = scratch.file("tools.json", r#"[{"type": "function", "function": {"name": "f"}}]"#);
    let echoed = |rest: &[&str]| {
        let text =
            sm(&generate(&[&["--chat", "--echo", "-n", "1", "--temp", "0", "Hi"], rest].concat())).success();
        text.chars().take(30).collect::<String>()
    };
    assert!(echoed(&["--chat-template", "chatml"]).starts_with("<|im_start|>user\nHi<|im_end|>"));
    let kwargs =
        ["--chat-template", &file, "--chat-template-kwargs", r#"{"greeting": "!?"}"#, "--tools", &tools];
    assert!(echoed(&kwargs).starts_with("Hi!?1"), "{}", echoed(&kwargs));
    let thinking = ["--chat-template", "{{ enable_thinking }}{{ messages[0].content }}", "--no-think"];
    assert!(echoed(&thinking).to_lowercase().starts_with("falsehi"), "{}", echoed(&thinking));
    assert!(sm(&generate(&["x", "--chat", "--chat-template", "chatmll"])).error(2).contains("chatml, "));
    assert!(sm(&generate(&["x", "--system", "y"])).error(2).contains("--chat"));
    assert!(sm(&generate(&["x", "--chat", "--chat-template-kwargs", "[]"])).error(2).contains("JSON object"));
}

#[test]
fn thoughts_are_shown_apart_from_the_answer() {
    let Some([model, _]) = stories() else { return };
    // The grammar makes any model think.
    let args = [
        "generate",
        "-m",
        &model,
        "--chat",
        "--chat-template",
        "chatml",
        "-t",
        "1",
        "--temp",
        "0",
        "Hi",
        "-n",
        "40",
        "--regex",
        "<think>a b</think>\n\ncat",
    ];
    let outcome = sm(&args);
    assert!(outcome.stderr.contains("a b"), "{}", outcome.stderr);
    assert_eq!(outcome.success(), "cat");
    let report: Value = sm(&[&args[..], &["--json"]].concat()).json();
    assert_eq!((report["reasoning"].as_str(), report["text"].as_str()), (Some("a b"), Some("cat")));
    let quiet = sm(&[&args[..], &["-q"]].concat());
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("cat", ""));
}
