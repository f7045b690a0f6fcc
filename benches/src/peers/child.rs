//! An engine's process: requests and answers, one JSON object per line.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Stdio};

use serde::{Deserialize, Serialize};

use super::engines::Engine;

/// What a process is asked for.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum Request {
    /// Loads a model; comes first.
    Load {
        /// A GGUF file.
        model: String,
        /// Threads.
        n_threads: usize,
        /// Positions per sequence.
        context_len: usize,
        /// Sequences at once.
        n_sequences: usize,
        /// A setting of the engine.
        setting: String,
    },
    /// Reads a prompt.
    Prefill {
        /// Its length.
        n_tokens: usize,
    },
    /// Generates.
    Decode {
        /// Steps.
        n_tokens: usize,
        /// Positions before, which are not timed.
        depth: usize,
        /// Sequences in a step.
        n_sequences: usize,
    },
}

/// What it answers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// How long it took.
    Seconds(f64),
    /// Why it could not.
    Error(String),
}

/// A running process.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Child {
    /// Starts an engine.
    ///
    /// # Errors
    /// A sentence, if its program is missing.
    pub fn start(engine: Engine) -> Result<Self, String> {
        let mut command = engine.command().ok_or("it has no process")?;
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("missing ({e}; cargo xtask setup --peers installs it)"))?;
        let (Some(requests), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("its streams cannot be had".to_owned());
        };
        Ok(Self { process, requests, answers: BufReader::new(answers) })
    }

    /// Asks, and waits for the answer: seconds.
    ///
    /// # Errors
    /// A sentence, if the engine cannot do it or has ended.
    pub fn call(&mut self, request: &Request) -> Result<f64, String> {
        let ended = |e: &dyn std::fmt::Display| format!("its process ended ({e}; see what it wrote above)");
        let line = serde_json::to_string(request).map_err(|e| e.to_string())?;
        writeln!(self.requests, "{line}").map_err(|e| ended(&e))?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).map_err(|e| ended(&e))?;
        match serde_json::from_str(&answer).map_err(|e| ended(&e))? {
            Answer::Seconds(seconds) => Ok(seconds),
            Answer::Error(error) => Err(error),
        }
    }

    /// The number of the process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
