//! An engine's process: requests and answers, one JSON object per line.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use serde::{Deserialize, Serialize};

/// A request to an engine's process.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum Request {
    /// Loads a model; always the first request.
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
    /// Decodes.
    Decode {
        /// Steps.
        n_tokens: usize,
        /// Positions filled before the clock starts.
        depth: usize,
        /// Sequences in a step.
        n_sequences: usize,
    },
}

/// Its answer.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// How long it took.
    Seconds(f64),
    /// Why it failed.
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
    /// Starts an engine's program.
    ///
    /// # Errors
    /// A message, if it is missing.
    pub fn start(mut command: Command) -> Result<Self, String> {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("missing ({e}; cargo xtask setup --peers installs it)"))?;
        let (Some(requests), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("its pipes are missing".to_owned());
        };
        Ok(Self { process, requests, answers: BufReader::new(answers) })
    }

    /// Sends a request and waits for the answer, in seconds.
    ///
    /// # Errors
    /// A message, if the engine does not support the request or its process has ended.
    pub fn call(&mut self, request: &Request) -> Result<f64, String> {
        let ended = |e: &dyn std::fmt::Display| format!("its process ended ({e}; see its output above)");
        let line = serde_json::to_string(request).map_err(|e| e.to_string())?;
        writeln!(self.requests, "{line}").map_err(|e| ended(&e))?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).map_err(|e| ended(&e))?;
        match serde_json::from_str(&answer).map_err(|e| ended(&e))? {
            Answer::Seconds(seconds) => Ok(seconds),
            Answer::Error(error) => Err(error),
        }
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
