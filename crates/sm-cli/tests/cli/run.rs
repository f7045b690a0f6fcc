//! Running the program, and finding the models to run it on.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// The outcome of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs `sm` with nothing on standard input.
pub(crate) fn sm(args: &[&str]) -> Outcome {
    sm_with_input(args, "")
}

/// Runs `sm` with `input` on standard input.
pub(crate) fn sm_with_input(args: &[&str], input: &str) -> Outcome {
    finish(Command::new(env!("CARGO_BIN_EXE_sm")).args(args), input)
}

/// Runs `sm` in another directory, with nothing on standard input.
pub(crate) fn sm_in(directory: &str, args: &[&str]) -> Outcome {
    finish(Command::new(env!("CARGO_BIN_EXE_sm")).args(args).current_dir(directory), "")
}

/// Runs `sm` with variables, with nothing on standard input.
pub(crate) fn sm_with_env(variables: &[(&str, String)], args: &[&str]) -> Outcome {
    finish(Command::new(env!("CARGO_BIN_EXE_sm")).args(args).envs(variables.iter().cloned()), "")
}

fn finish(command: &mut Command, input: &str) -> Outcome {
    let mut child = command
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that fails before it reads closes the pipe, which does not fail the test.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let outcome = Outcome {
        code: output.status.code().expect("the program ended by a signal"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    };
    assert!(!outcome.stderr.contains("panicked"), "{command:?}: {}", outcome.stderr);
    outcome
}

impl Outcome {
    /// Standard output of a run that must have succeeded.
    #[track_caller]
    pub(crate) fn success(self) -> String {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self.stdout
    }

    /// The only value of JSON on standard output of a run that must have succeeded.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let text = self.success();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The message of a run that must have failed with `code`: one line, nothing on standard output.
    #[track_caller]
    pub(crate) fn error(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        assert_eq!(self.stdout, "");
        let lines: Vec<&str> = self.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        let [line] = lines.as_slice() else { panic!("not one error line: {}", self.stderr) };
        (*line).to_owned()
    }
}

/// The directory of published models and texts. If it is missing, the test is skipped.
pub(crate) fn data() -> Option<PathBuf> {
    crate::testing::data_dir()
}

/// The trained model of 260 thousand parameters: its directory and its GGUF file.
pub(crate) fn stories() -> Option<[String; 2]> {
    let directory = data()?.join("models/stories260K/hf");
    let file = directory.join("stories260K-f32.gguf");
    Some([directory, file].map(|path| path.to_str().unwrap().to_owned()))
}

/// A reference of the trained model, read from JSON.
pub(crate) fn reference(name: &str) -> Value {
    let path = data().unwrap().join("models/stories260K/ref").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A directory for one test, removed at its end.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(test: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// The path of a file in it.
    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// The path of a new file in it.
    pub(crate) fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
        std::fs::write(&path, contents).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
