//! `sm chat` on a pipe.

use serde_json::Value;

use crate::run::{Scratch, sm_with_input, stories};

fn chat<'a>(model: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    [&["chat", "-m", model, "--temp", "0", "-t", "1", "-n", "12", "--no-history"], rest].concat()
}

#[test]
fn each_line_is_answered_and_the_conversation_is_saved() {
    let Some([model, _]) = stories() else { return };
    let scratch = Scratch::new("chat");
    let file = scratch.path("chat.json");
    let input = format!("Once upon a time\n\n/nonsense\n then\n/save {file}\n/exit\nnot answered\n");
    let outcome = sm_with_input(&chat(&model, &["--raw"]), &input);
    assert!(outcome.stderr.contains("/nonsense"), "{}", outcome.stderr);
    let messages: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let messages = messages.as_array().unwrap();
    let roles: Vec<_> = messages.iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "user", "assistant"]);
    let answers: String = [1, 3].map(|i| format!("{}\n", messages[i]["content"].as_str().unwrap())).concat();
    assert_eq!(outcome.success(), answers);
}

#[test]
fn a_second_turn_computes_only_what_is_new() {
    let Some([model, _]) = stories() else { return };
    let outcome =
        sm_with_input(&chat(&model, &["--raw"]), "Once upon a time, there was a little girl\nand\n");
    let second =
        outcome.stderr.lines().filter(|line| line.starts_with('[')).nth(1).unwrap_or_default().to_owned();
    let numbers: Vec<usize> =
        second.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
    let [n_new, n_all, ..] = numbers.as_slice() else { panic!("{}", outcome.stderr) };
    assert!(n_new < &6 && n_all > &20, "{second}");
}

#[test]
fn a_model_without_template_says_how_to_chat_with_it() {
    let Some([model, _]) = stories() else { return };
    let message = sm_with_input(&chat(&model, &[]), "hello\n").error(1);
    assert!(message.contains("chat template") && message.contains("--raw"), "{message}");
}
