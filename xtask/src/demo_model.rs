//! `cargo xtask demo-model`: trains the built-in models from scratch: text generator, tokenizer, weights, GGUF files.

use crate::Outcome;
use crate::setup::{python_environment, venv_python};
use crate::spawn::{self, cargo, command, root};

/// The crate of the shipped files.
const FOLDER: &str = "crates/sm-demo-model";
/// The scripts that make them, and their vocabulary.
const RECIPE: &str = "crates/sm-demo-model/recipe";
/// Checkpoints and full-precision weights; ignored by git.
const BUILD: &str = "crates/sm-demo-model/recipe/build";

/// One of the two models.
struct Shape {
    name: &'static str,
    /// Total training time over all runs, by default.
    minutes: &'static str,
}

const SHAPES: [Shape; 2] = [Shape { name: "demo", minutes: "240" }, Shape { name: "draft", minutes: "20" }];

/// The weights before the first training step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Noise,
    Shipped,
}

const USAGE: &str = "\
usage: cargo xtask demo-model [--shipped] [--minutes M]    train the demo model for M minutes in all, quantize, evaluate
       cargo xtask demo-model --eval                       evaluate what is committed

Training resumes from its checkpoints. With --shipped it starts from the shipped weights instead of random ones.";

/// Trains, quantizes and evaluates; with `--eval`, only evaluates.
pub(crate) fn run(args: &[String]) -> Outcome {
    let arguments: Vec<&str> = args.iter().map(String::as_str).collect();
    let (start, minutes) = match arguments[..] {
        [] => (Start::Noise, None),
        ["--shipped"] => (Start::Shipped, None),
        ["--minutes", minutes] => (Start::Noise, Some(minutes)),
        ["--shipped", "--minutes", minutes] => (Start::Shipped, Some(minutes)),
        ["--eval"] => {
            python_environment()?;
            return evaluate();
        }
        _ => return Err(USAGE.to_owned()),
    };
    python_environment()?;
    write_vocabulary(start)?;
    for shape in SHAPES {
        let minutes = minutes.filter(|_| shape.name == "demo").unwrap_or(shape.minutes);
        train(&shape, start, minutes)?;
        quantize(shape.name)?;
    }
    evaluate()
}

fn write_vocabulary(start: Start) -> Outcome {
    let built = format!("{BUILD}/tokenizer.json");
    let shipped = format!("{RECIPE}/tokenizer.json");
    match start {
        Start::Shipped => python("tokenizer", "vocabulary.py", &[BUILD, &shipped]),
        Start::Noise if root().join(&built).exists() => Ok(()),
        Start::Noise => {
            python("tokenizer", "vocabulary.py", &[BUILD])?;
            let copied = std::fs::copy(root().join(&built), root().join(&shipped));
            copied.map(|_| ()).map_err(|error| format!("cannot copy {built} to {shipped}: {error}"))
        }
    }
}

fn train(shape: &Shape, start: Start, minutes: &str) -> Outcome {
    let shipped = format!("{FOLDER}/{}.gguf", shape.name);
    let mut args = vec![BUILD, "--shape", shape.name, "--minutes", minutes];
    if start == Start::Shipped {
        args.extend(["--start", &shipped]);
    }
    python(&format!("training of {}", shape.name), "train.py", &args)
}

/// Writes the shipped file, with a build of `sm` that does not contain it.
fn quantize(name: &str) -> Outcome {
    let input = format!("{BUILD}/{name}");
    let output = format!("{FOLDER}/{name}.gguf");
    let build =
        ["run", "--release", "--quiet", "-p", "sm-cli", "--no-default-features", "--features", "cpu", "--"];
    spawn::run(&output, cargo(&build).args(["quantize", &input, &output, "--type", "q8_0", "--force"]))
}

fn evaluate() -> Outcome {
    spawn::run("sm", &mut cargo(&["build", "--release", "--quiet", "-p", "sm-cli"]))?;
    python("evaluation", "evaluate.py", &["target/release/sm"])
}

fn python(title: &str, script: &str, args: &[&str]) -> Outcome {
    let script = format!("{RECIPE}/{script}");
    spawn::run(title, command(&venv_python().to_string_lossy(), &[&script]).args(args))
}
