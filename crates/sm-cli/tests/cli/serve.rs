//! The server as a process: it says where it listens, answers, and ends when it is told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

/// A server that is killed if a test fails before it ends.
pub(crate) struct Serving {
    child: Child,
    output: BufReader<ChildStdout>,
    pub(crate) address: String,
}

impl Serving {
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_with_env(&[], args)
    }

    pub(crate) fn start_with_env(variables: &[(&str, String)], args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sm"));
        command.args(["serve", "--port", "0", "-t", "1"]).args(args).envs(variables.iter().cloned());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").expect(&line).to_owned();
        Self { child, output, address }
    }

    /// The status and body of a response.
    pub(crate) fn request(&self, head: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        write!(
            stream,
            "{head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let status = response.split(' ').nth(1).unwrap().parse().unwrap();
        (status, response.split_once("\r\n\r\n").unwrap().1.to_owned())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_demo_model_is_served_without_arguments_and_ends_on_a_signal() {
    let mut serving = Serving::start(&["--alias", "gpt-4o", "--grace", "5"]);
    assert_eq!(serving.request("GET /health", ""), (200, "{\"status\":\"healthy\"}".to_owned()));
    let body = r#"{"model": "gpt-4o", "messages": [{"role": "user", "content": "What is 1 + 1?"}], "temperature": 0}"#;
    let (status, answer) = serving.request("POST /v1/chat/completions", body);
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.contains("Answer: 2"), "{answer}");
    #[cfg(unix)]
    {
        let id = serving.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let mut rest = String::new();
        serving.output.read_to_string(&mut rest).unwrap();
        assert_eq!((serving.child.wait().unwrap().code(), &rest[..]), (Some(0), ""));
    }
}

#[test]
fn an_address_that_is_taken_is_an_error_that_names_it() {
    let serving = Serving::start(&[]);
    let port = serving.address.rsplit(':').next().unwrap();
    let error = super::run::sm(&["serve", "--port", port]).error(1);
    assert!(error.contains(&serving.address), "{error}");
    let error = super::run::sm(&["serve", "--parallel", "0"]).error(2);
    assert!(error.contains("--parallel"), "{error}");
}
