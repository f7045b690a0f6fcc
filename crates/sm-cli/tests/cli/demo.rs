//! The model that comes with the program answers, wherever it is started.

use crate::run::{Scratch, sm, sm_in};

fn answer(question: &str) -> String {
    sm(&["generate", "--chat", question, "--temp", "0", "-n", "300", "-t", "1"]).success()
}

#[test]
fn the_first_answer_needs_neither_model_nor_network() {
    let scratch = Scratch::new("demo-empty");
    // A folder of that name is no model: `./demo` would be.
    std::fs::create_dir_all(scratch.path("demo")).unwrap();
    let text = sm_in(&scratch.path(""), &["generate", "Once upon a time", "-n", "150"]).success();
    assert!(text.split_whitespace().count() > 50, "{text}");
    assert!(sm_in(&scratch.path(""), &["inspect", "./demo"]).error(1).contains("is not a model"));
}

#[test]
fn it_solves_the_equation_of_the_readme() {
    let text = answer("Solve for x: 2x + 3 = 9");
    assert_eq!(text.lines().last(), Some("Answer: 3"), "{text}");
}

#[test]
fn it_counts_knows_and_codes() {
    assert!(answer("What is 17 + 25?").ends_with("Answer: 42"));
    assert!(answer("What is the capital of France?").contains("Paris"));
    assert!(answer("Write a Python function for the factorial of a number.").contains("def factorial(n):"));
}

#[test]
fn its_draft_has_the_same_vocabulary() {
    let vocabulary =
        |model| sm(&["tokenize", "-m", model, "--json", "2x + 3 = 9\n\tdef naïve(): \"…\""]).json();
    assert_eq!(vocabulary("demo"), vocabulary("demo-draft"));
    let parameters = |model| sm(&["inspect", model, "--json"]).json()["parameters"].as_u64().unwrap();
    assert!((3_000_000..=10_000_000).contains(&parameters("demo")));
    assert!(parameters("demo-draft") <= 500_000);
}
