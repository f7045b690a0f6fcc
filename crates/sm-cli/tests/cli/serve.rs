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
    /// A server on a free port, and where that is.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_in(args, &[])
    }

    /// As [`Serving::start`], in an environment with some variables.
    pub(crate) fn start_in(args: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::spawn(args, variables).listening()
    }

    /// As [`Serving::start`], with a log to read.
    pub(crate) fn logged(args: &[&str]) -> Self {
        let mut command = Self::command(args, &[]);
        command.stderr(Stdio::piped());
        Self::spawned(command).listening()
    }

    /// A server that has not said yet where it listens.
    pub(crate) fn spawn(args: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::spawned(Self::command(args, variables))
    }

    fn command(args: &[&str], variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sm"));
        command.args(["serve", "--port", "0", "-t", "1"]).args(args).stderr(Stdio::null());
        command.envs(variables.iter().copied());
        command
    }

    fn spawned(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output, address: String::new() }
    }

    fn listening(mut self) -> Self {
        let line = self.line();
        line.trim().strip_prefix("listening on http://").expect(&line).clone_into(&mut self.address);
        self
    }

    /// The next line of its output.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line
    }

    /// The status and body of a response.
    pub(crate) fn request(&self, head: &str, body: &str) -> (u16, String) {
        let head = format!("{head} HTTP/1.1\r\ncontent-length: {}", body.len());
        Self::request_with(&self.address, &head, body)
    }

    /// As [`Serving::request`], with all lines of the head, and no body.
    pub(crate) fn request_raw(&self, head: &str) -> (u16, String) {
        Self::request_at(&self.address, head)
    }

    /// As [`Serving::request_raw`], at another address.
    pub(crate) fn request_at(address: &str, head: &str) -> (u16, String) {
        Self::request_with(address, head, "")
    }

    /// The status and body of a response, to a head and a body.
    pub(crate) fn request_with(address: &str, head: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "{head}\r\nhost: x\r\nconnection: close\r\n\r\n{body}").unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let status = response.split(' ').nth(1).unwrap().parse().unwrap();
        (status, response.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    /// Sends a signal, such as `-TERM`.
    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Waits for its end, and returns its exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Its log, once it has ended.
    pub(crate) fn log(mut self) -> String {
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        log
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
        serving.signal("-TERM");
        let mut rest = String::new();
        serving.output.read_to_string(&mut rest).unwrap();
        assert_eq!((serving.wait(), &rest[..]), (Some(0), ""));
    }
}

#[test]
fn the_page_has_a_port_of_its_own_and_a_command_for_servers_elsewhere() {
    let mut serving = Serving::start(&["--ui-port", "0"]);
    let line = serving.line();
    let address = line.trim().strip_prefix("page on http://").expect(&line);
    assert_ne!(address, serving.address);
    for address in [address, &serving.address[..]] {
        let (status, page) = Serving::request_at(address, "GET / HTTP/1.1");
        assert!(status == 200 && page.contains("./ui/page.js"), "{page}");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_sm"));
    command.args(["ui", "--port", "0", "--api-url", "http://localhost:1"]).stderr(Stdio::null());
    let ui = Serving::spawned(command).listening();
    let (_, config) = Serving::request_at(&ui.address, "GET /ui/config.json HTTP/1.1");
    assert!(config.contains("http://localhost:1"), "{config}");
    #[cfg(unix)]
    {
        let mut ui = ui;
        ui.signal("-TERM");
        assert_eq!(ui.wait(), Some(0));
    }
    let error = super::run::sm(&["ui", "--port", "0", "--api-url", "localhost"]).error(1);
    assert!(error.contains("write http://HOST:PORT"), "{error}");
    let error = super::run::sm(&["serve", "--port", "0", "--ui-tabs", "Cargo.toml"]).error(1);
    assert!(error.contains("tabs"), "{error}");
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

#[test]
fn health_says_whether_a_server_is_well() {
    let sm = super::run::sm;
    let serving = Serving::start(&["--admin-key", "an admin key"]);
    let port = serving.address.rsplit(':').next().unwrap().to_owned();
    let url = format!("http://{}", serving.address);
    assert!(sm(&["health", "--live", "--url", &url]).success().contains("healthy"));
    // A request waits until the model is loaded.
    let story = r#"{"prompt": "Once", "max_tokens": 1}"#;
    assert_eq!(serving.request("POST /v1/completions", story).0, 200);
    assert!(sm(&["health", "--port", &port]).success().contains("ready"));
    let head = "POST /admin/drain HTTP/1.1\r\nauthorization: Bearer an admin key\r\ncontent-length: 0";
    assert_eq!(serving.request_raw(head).0, 200);
    for asked in [&["health", "--url", &url][..], &["health", "--live", "--url", &url]] {
        assert!(sm(asked).error(1).contains("draining"));
    }
    drop(serving);
    assert!(sm(&["health", "--port", &port]).error(1).contains("is the server running"));
}
