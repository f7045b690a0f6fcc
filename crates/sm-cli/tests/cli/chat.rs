//! `sm chat` on a pipe.

use serde_json::Value;

use crate::run::{Outcome, Scratch, sm_with_input, stories};

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
    let [_, [n_new, n_all]] = turns(&outcome)[..] else { panic!("{}", outcome.stderr) };
    assert!(n_new < 6 && n_all > 20, "{}", outcome.stderr);
}

#[test]
fn a_template_computes_only_what_is_new_too() {
    let questions = "What is 17 + 25?\nWhat is 3 + 4?\n/reset\nWhat is 17 + 25?\n";
    let outcome = sm_with_input(&["chat", "--temp", "0", "-t", "1", "-n", "60", "--no-history"], questions);
    let [[first_new, first], [second_new, second], again] = turns(&outcome)[..] else {
        panic!("{}", outcome.stderr)
    };
    assert_eq!(first_new, first);
    // The second prompt repeats the first one, its answer, and the frames of both.
    assert!(second > 2 * first && second_new <= first + 2, "{}", outcome.stderr);
    assert_eq!(again[1], first);
    assert!(outcome.stdout.contains("42") && outcome.stdout.contains('7'), "{}", outcome.stdout);
}

#[test]
fn a_full_context_is_told_and_a_reset_helps() {
    let input = "Tell me a story.\nGo on.\n/reset\nWhat is 17 + 25?\n";
    let args = ["chat", "--temp", "0", "-t", "1", "-c", "64", "--no-history"];
    let outcome = sm_with_input(&args, input);
    assert!(outcome.stderr.contains("the context is full"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("error: context is 64"), "{}", outcome.stderr);
    let [_, [n_new, n_all]] = turns(&outcome)[..] else { panic!("{}", outcome.stderr) };
    assert!(n_new <= n_all && n_all < 30, "{}", outcome.stderr);
    outcome.success();
}

/// Of each turn, the tokens of its prompt that were computed, and all of them.
fn turns(outcome: &Outcome) -> Vec<[usize; 2]> {
    let notes = outcome.stderr.lines().filter(|line| line.starts_with('['));
    let numbers = notes.map(|line| {
        let mut numbers = line.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
        [numbers.next().unwrap(), numbers.next().unwrap()]
    });
    numbers.collect()
}

#[test]
fn a_model_without_template_says_how_to_chat_with_it() {
    let Some([model, _]) = stories() else { return };
    let message = sm_with_input(&chat(&model, &[]), "hello\n").error(1);
    assert!(message.contains("chat template") && message.contains("--raw"), "{message}");
}
