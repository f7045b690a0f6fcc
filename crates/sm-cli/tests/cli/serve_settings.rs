//! Where the settings of a server come from: the command line, the environment, and a file, in this order.

use std::path::PathBuf;

use super::run::sm;
use super::serve::Serving;

/// A file, removed in the end.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sm-serve-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

const MODELS: &str = "GET /v1/models";

#[test]
fn the_command_line_comes_before_the_environment_and_that_before_the_file() {
    let file = File::new(
        "order.toml",
        "model = [\"demo=a\", \"demo=b\"]\nalias = [\"file\"]\napi_key = [\"file-key\"]\nport = 1\nload-in-4bit = false\n",
    );
    // The port of the file would be refused to most users: the command line gives another.
    let serving =
        Serving::start_in(&["--config", file.path(), "--alias", "typed"], &[("SM_API_KEY", "variable-key")]);
    let with_key =
        |key: &str| format!("GET /v1/models/typed HTTP/1.1\r\nauthorization: Bearer {key}\r\nx-a: b");
    let ask = |key: &str| serving.request_raw(&with_key(key));
    assert_eq!(ask("file-key").0, 401);
    let (status, body) = ask("variable-key");
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("\"id\":\"a\""), "{body}");
    let other = serving.request_raw("GET /v1/models/b HTTP/1.1\r\nx-api-key: variable-key");
    assert_eq!(other.0, 200);
    let gone = serving.request_raw("GET /v1/models/file HTTP/1.1\r\nx-api-key: variable-key");
    assert_eq!(gone.0, 404);
}

#[test]
fn what_is_wrong_in_the_file_is_named() {
    for (text, part) in [
        ("prot = 8000", "no option \"prot\""),
        ("port = [", "line 1"),
        ("load_in_4bit = \"yes\"", "true or false"),
        ("port = \"high\"", "--port"),
        ("help = true", "no option \"help\""),
    ] {
        let file = File::new("wrong.toml", text);
        let error = sm(&["serve", "--config", file.path()]).error(2);
        assert!(error.contains(part), "{text}: {error}");
    }
    let error = sm(&["serve", "--config", "/nowhere/sm.toml"]).error(1);
    assert!(error.contains("/nowhere/sm.toml"), "{error}");
    let error = sm(&["serve", "--load-in-4bit", "--load-in-8bit"]).error(2);
    assert!(error.contains("--load-in-8bit"), "{error}");
}

#[test]
fn an_empty_key_is_no_key() {
    let file = File::new("keys.txt", "\n  \n");
    let error = sm(&["serve", "--api-key-file", file.path()]).error(2);
    assert!(error.contains("has no key"), "{error}");
    for option in ["--api-key", "--admin-key"] {
        let error = sm(&["serve", option, ""]).error(2);
        assert!(error.contains(option) && error.contains("it is empty"), "{error}");
    }
}

#[test]
fn the_variables_of_the_original_documents_are_read() {
    let serving = Serving::start_in(
        &[],
        &[("MODEL_PATH", "demo=mine"), ("LOAD_IN_4BIT", "TRUE"), ("HOST", "127.0.0.1")],
    );
    let (status, body) = serving.request(MODELS, "");
    assert_eq!(status, 200);
    assert!(body.contains("\"mine\""), "{body}");
    let (status, answer) =
        serving.request("POST /v1/completions", "{\"prompt\": \"Once\", \"max_tokens\": 2}");
    assert_eq!(status, 200, "{answer}");
}

#[test]
fn flags_of_other_servers_are_known() {
    let serving = Serving::start_in(
        &[
            "--model_path",
            "demo",
            "--max-model-len",
            "512",
            "--max-num-seqs",
            "2",
            "--metrics",
            "--no_flash_attention",
        ],
        &[],
    );
    assert_eq!(serving.request("GET /health", "").0, 200);
}

#[test]
fn the_reference_has_every_key_with_its_variable_and_default() {
    let printed = sm(&["serve", "--help-config"]).success();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/server.md");
    let text = std::fs::read_to_string(path).unwrap();
    let written =
        text.split("<!-- sm serve --help-config -->\n").nth(1).unwrap().split("<!-- end -->").next();
    assert_eq!(written, Some(&*printed), "copy the output of `sm serve --help-config` into docs/server.md");
    for row in [
        "| `port` | `PORT` | `8000` | Port to listen on; 0 picks a free one |",
        "| `max-queued` |  | `100` | Requests that wait at most; more are refused with 429 |",
    ] {
        assert!(printed.lines().any(|line| line == row), "{row}\n{printed}");
    }
    for key in ["model", "host", "api-keys", "context", "load-in-4bit", "log-format"] {
        assert!(printed.contains(&format!("| `{key}` |")), "{key}\n{printed}");
    }
    assert!(
        !printed.contains("`help") && !printed.contains("`config`") && !printed.contains("more-models"),
        "{printed}"
    );
}

#[test]
fn a_new_key_opens_the_server_whose_file_has_its_hash() {
    let made = sm(&["keys", "new", "--name", "alice"]);
    let key = made.stderr.trim().strip_prefix("key: ").expect(&made.stderr).to_owned();
    let entry = made.success();
    assert!(!entry.contains(&key) && entry.contains("name = \"alice\""), "{entry}");
    let file = File::new("keys.toml", &entry);
    let serving = Serving::start_in(&["--api-keys", file.path()], &[]);
    assert_eq!(serving.request(MODELS, "").0, 401);
    let (status, _) = serving.request_raw(&format!("{MODELS} HTTP/1.1\r\nauthorization: Bearer {key}"));
    assert_eq!(status, 200);
    #[cfg(unix)]
    {
        std::fs::write(&file.0, "").unwrap();
        serving.signal("-HUP");
        let closed = || {
            let (status, _) =
                serving.request_raw(&format!("{MODELS} HTTP/1.1\r\nauthorization: Bearer {key}"));
            status == 401
        };
        let is_closed = (0..200).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            closed()
        });
        assert!(is_closed, "the key still opens after SIGHUP");
    }
    let error = sm(&["serve", "--api-keys", "/nowhere/keys.toml"]).error(1);
    assert!(error.contains("/nowhere/keys.toml"), "{error}");
}

#[test]
fn metrics_have_a_port_of_their_own_when_asked_for() {
    let mut serving =
        Serving::start_in(&["--metrics-port", "0", "--api-key", "k", "--metrics-compat", "vllm"], &[]);
    let line = serving.line();
    let address =
        line.trim().strip_prefix("metrics on http://").and_then(|rest| rest.strip_suffix("/metrics"));
    let (status, text) = Serving::request_at(address.expect(&line), "GET /metrics HTTP/1.1");
    assert_eq!(status, 200);
    assert!(text.contains("smallmind_http_requests_in_flight"), "{text}");
    assert_eq!(serving.request("GET /metrics", "").0, 401);
}

#[cfg(unix)]
#[test]
fn a_unix_socket_is_listened_on_and_removed() {
    use std::io::{Read, Write};
    let path = std::env::temp_dir().join(format!("sm-serve-{}.sock", std::process::id()));
    let mut serving = Serving::spawn(&["--unix-socket", path.to_str().unwrap()], &[]);
    assert_eq!(serving.line().trim(), format!("listening on {}", path.display()));
    let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    serving.signal("-TERM");
    assert_eq!(serving.wait(), Some(0));
    assert!(!path.exists());
}

#[test]
fn the_log_can_be_lines_of_json_without_prompts() {
    let serving = Serving::logged(&["--log-format", "json", "--log-level", "info"]);
    let body = "{\"prompt\": \"the secret word\", \"max_tokens\": 2}";
    let head =
        format!("POST /v1/completions HTTP/1.1\r\nx-request-id: abc-7\r\ncontent-length: {}", body.len());
    let (status, _) = Serving::request_with(&serving.address, &head, body);
    assert_eq!(status, 200);
    serving.signal("-TERM");
    let log = serving.log();
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let answered = lines.iter().find(|line| line["message"] == "answered").expect(&log);
    assert_eq!((&answered["span"]["id"], &answered["status"]), (&"abc-7".into(), &200.into()), "{answered}");
    assert_eq!(answered["generated_tokens"], 2);
    assert!(!log.contains("secret"), "{log}");
}
