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
    let args = ["chat", "--temp", "0", "-t", "1", "-c", "64", "--no-history", "--on-full", "error"];
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

#[test]
fn a_full_context_leaves_the_oldest_turns_out() {
    for raw in [false, true] {
        let mut args = vec!["chat", "--temp", "0", "-t", "1", "-c", "96", "-n", "20", "--no-history"];
        args.extend(raw.then_some("--raw"));
        let questions: String = (1..9).map(|number| format!("What is {number} + 1?\n")).collect();
        let outcome = sm_with_input(&args, &format!("{questions}/save {}\n", "/dev/null"));
        let notes: Vec<&str> = outcome.stderr.lines().filter(|line| line.contains("left out")).collect();
        assert!(
            !notes.is_empty() && notes[0].contains("/reset") && notes[0].contains("-c"),
            "{}",
            outcome.stderr
        );
        assert_eq!(turns(&outcome).iter().filter(|[_, all]| *all < 96).count(), 8, "{}", outcome.stderr);
        assert!(!outcome.stderr.contains("error:"), "{}", outcome.stderr);
        outcome.success();
    }
    // A question that is too long by itself is still an error.
    let long = "word ".repeat(200);
    let outcome = sm_with_input(&["chat", "-t", "1", "-c", "64", "--no-history"], &format!("Hi\n{long}\n"));
    assert!(outcome.stderr.contains("error: context is 64"), "{}", outcome.stderr);
}

/// The messages that `/save` writes at the end of `input`.
fn saved(scratch: &Scratch, args: &[&str], input: &str) -> Vec<(String, String)> {
    let file = scratch.path("saved.json");
    sm_with_input(args, &format!("{input}\n/save {file}\n")).success();
    let messages: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let field = |message: &Value, name: &str| message[name].as_str().unwrap().to_owned();
    messages.as_array().unwrap().iter().map(|each| (field(each, "role"), field(each, "content"))).collect()
}

#[test]
fn commands_change_the_conversation() {
    let scratch = Scratch::new("chat-commands");
    let args = ["chat", "--temp", "0", "-t", "1", "-n", "40", "--no-history"];
    let sums = saved(&scratch, &args, "What is 17 + 25?\nWhat is 2 + 3?");
    assert_eq!(sums.len(), 4);
    let undone = saved(&scratch, &args, "What is 17 + 25?\nWhat is 9 + 9?\n/undo\nWhat is 2 + 3?\n/?");
    assert_eq!(undone, sums);
    let again = saved(&scratch, &args, "What is 17 + 25?\nWhat is 2 + 3?\n/regen");
    assert_eq!(again, sums);
    let file = scratch.path("saved.json");
    let loaded = saved(&scratch, &args, &format!("forgotten\n/load {file}"));
    assert_eq!(loaded, sums);
    let set = saved(&scratch, &args, "/set n_tokens 2\n/set\nWhat is 17 + 25?");
    assert!(set[1].1.len() < sums[1].1.len(), "{set:?}");
    let quoted = saved(&scratch, &args, "\"\"\"/one\n two\"\"\"\nthree \\\nfour");
    assert_eq!((quoted[0].1.as_str(), quoted[2].1.as_str()), ("/one\n two", "three \nfour"));
    let raw = ["chat", "--raw", "--temp", "0", "-t", "1", "-n", "9", "--no-history"];
    let lines = saved(&scratch, &raw, "Once upon a time\nthen\n/undo\nthen");
    assert_eq!((lines.len(), lines[2].1.as_str()), (4, "then"));
}

#[test]
fn a_seed_gives_another_answer_when_it_is_asked_again() {
    let scratch = Scratch::new("chat-regen");
    let args = ["chat", "--seed", "1", "--temp", "1.5", "-t", "1", "-n", "20", "--no-history"];
    let once = saved(&scratch, &args, "Tell me a story.");
    let again = saved(&scratch, &args, "Tell me a story.\n/regen");
    assert_eq!((once.len(), again.len()), (2, 2));
    assert_ne!(once[1], again[1]);
}

#[test]
fn wrong_commands_say_what_to_do() {
    let input = "/undo\n/regen\n/set temp hot\n/set tmp 1\n/set temp -1\n/load nowhere.json\n";
    let outcome = sm_with_input(&["chat", "-t", "1", "--no-history"], input);
    for part in [
        "no question to forget",
        "no question to answer",
        "must be a number",
        "no such option",
        "0 or more",
        "nowhere.json",
    ] {
        assert!(outcome.stderr.contains(part), "{part}: {}", outcome.stderr);
    }
    outcome.success();
}
