//! `cargo xtask demo-model`: makes the models that come with the program, from the generator of their text to the files.

use crate::Outcome;
use crate::setup::{python_environment, venv_python};
use crate::spawn::{self, cargo, command, root};

/// The shipped files and their recipe.
const FOLDER: &str = "models/demo";
/// Where checkpoints and weights in full precision lie; git ignores it.
const BUILD: &str = "models/demo/build";

/// A model of the recipe.
struct Shape {
    name: &'static str,
    /// Minutes that it learns, together over all runs, where nothing else is asked for.
    minutes: &'static str,
}

const SHAPES: [Shape; 2] = [Shape { name: "demo", minutes: "240" }, Shape { name: "draft", minutes: "20" }];

/// What the weights are before the first step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Noise,
    Shipped,
}

const USAGE: &str = "\
usage: cargo xtask demo-model [--shipped] [--minutes M]    train until the demo model has learnt for M minutes in all, quantize, evaluate
       cargo xtask demo-model --eval                       evaluate what is committed

Training goes on from its checkpoints. With --shipped it begins with the weights of the shipped files instead of noise.";

/// Generates, trains, quantizes and evaluates; with `--eval` evaluates only.
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
    let (built, shipped) = (format!("{BUILD}/tokenizer.json"), format!("{FOLDER}/tokenizer.json"));
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

/// Writes the file that is part of the program. The program that writes it must not need that file.
fn quantize(name: &str) -> Outcome {
    let (input, output) = (format!("{BUILD}/{name}"), format!("{FOLDER}/{name}.gguf"));
    let build =
        ["run", "--release", "--quiet", "-p", "sm-cli", "--no-default-features", "--features", "cpu", "--"];
    spawn::run(&output, cargo(&build).args(["quantize", &input, &output, "--type", "q8_0", "--force"]))
}

fn evaluate() -> Outcome {
    spawn::run("sm", &mut cargo(&["build", "--release", "--quiet", "-p", "sm-cli"]))?;
    python("evaluation", "evaluate.py", &["target/release/sm"])
}

fn python(title: &str, script: &str, args: &[&str]) -> Outcome {
    let script = format!("{FOLDER}/{script}");
    spawn::run(title, command(&venv_python().to_string_lossy(), &[&script]).args(args))
}
