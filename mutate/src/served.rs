//! Bodies of the server's requests, over HTTP.
//!
//! The server is a real one on a free port, in this process, so that memory is counted and libFuzzer sees its coverage.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::time::Duration;

use sm_runtime::{Device, EngineConfig, ExecutorOptions, LoadOptions, ModelRef, ModelSpec, Models};
use sm_server::{Server, ServerConfig};

/// A path that takes a body, and a body that it takes.
const SEEDS: [(&str, &str); 16] = [
    (
        "/v1/chat/completions",
        r#"{"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2, "seed": 1, "stream": true, "stream_options": {"include_usage": true}}"#,
    ),
    (
        "/v1/chat/completions",
        r#"{"messages": [{"role": "user", "content": [{"type": "text", "text": "A"}]}], "n": 2, "logprobs": true, "top_logprobs": 2, "max_completion_tokens": 2, "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}}], "tool_choice": "none"}"#,
    ),
    (
        "/v1/completions",
        r#"{"prompt": "Once", "max_tokens": 2, "echo": true, "logprobs": 1, "stop": ["x"], "logit_bias": {"5": -1.5}}"#,
    ),
    (
        "/v1/completions",
        r#"{"prompt": [1, 2, 3], "max_tokens": 2, "temperature": 0.5, "top_k": 3, "min_p": 0.1}"#,
    ),
    (
        "/v1/responses",
        r#"{"input": [{"role": "user", "content": [{"type": "input_text", "text": "A"}]}], "max_output_tokens": 2, "store": false}"#,
    ),
    ("/v1/embeddings", r#"{"input": ["a", "b"], "encoding_format": "base64", "dimensions": 8}"#),
    (
        "/v1/messages",
        r#"{"model": "m", "max_tokens": 2, "system": "s", "messages": [{"role": "user", "content": "A"}], "stop_sequences": ["x"]}"#,
    ),
    ("/v1/messages/count_tokens", r#"{"model": "m", "messages": [{"role": "user", "content": "A"}]}"#),
    (
        "/api/chat",
        r#"{"model": "m", "messages": [{"role": "user", "content": "A"}], "options": {"num_predict": 2}}"#,
    ),
    (
        "/api/generate",
        r#"{"model": "m", "prompt": "A", "stream": false, "format": "json", "options": {"num_predict": 2}}"#,
    ),
    ("/completion", r#"{"prompt": "A", "n_predict": 2, "n_probs": 2, "samplers": ["top_k", "temperature"]}"#),
    ("/generate", r#"{"prompt": "A", "max_tokens": 2, "temperature": 0.7, "top_p": 0.9}"#),
    ("/solve/math", r#"{"problem": "1 + 1", "max_tokens": 2}"#),
    ("/tokenize", r#"{"content": "A b", "add_special": true, "with_pieces": true}"#),
    ("/detokenize", r#"{"tokens": [1, 2, 3]}"#),
    ("/apply-template", r#"{"messages": [{"role": "user", "content": "A"}]}"#),
];

/// The seeds: a path, a line break, a body.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    SEEDS.iter().map(|(path, body)| format!("{path}\n{body}").into_bytes()).collect()
}

/// Starts the server, which lives as long as the process.
fn start() -> SocketAddr {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let load = LoadOptions::new().device(Device::cpu_threads(1)).context_len(64);
            let engine = EngineConfig::new().load(load).executor(ExecutorOptions::new().pool_bytes(4 << 20));
            let models = Models::new(1 << 30);
            models.add("m", ModelSpec::new(ModelRef::DemoDraft).config(engine)).expect("a model");
            let server = Server::bind("127.0.0.1:0", models, ServerConfig::new("m")).await.expect("a port");
            tell.send(server.address()).expect("somebody who waits for the port");
            server.run(std::future::pending()).await.expect("a server that nobody stops");
        });
    });
    told.recv().expect("a server that starts")
}

/// A body for one of the seeds' paths: an answer, or an error that is the request's.
///
/// # Panics
/// If the server fails, or does not answer.
pub(crate) fn request(bytes: &[u8]) -> bool {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    let Some((path, body)) = split(bytes) else { return false };
    let mut connection = TcpStream::connect(ADDRESS.get_or_init(start)).expect("a server that listens");
    connection.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: m\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    // Whoever is refused for the size of the body may find the connection closed while writing.
    let _ = connection.write_all(head.as_bytes()).and_then(|()| connection.write_all(body));
    let mut answer = Vec::new();
    let read = connection.read_to_end(&mut answer);
    let status = status(&answer).unwrap_or_else(|| panic!("no answer from {path}: {read:?}"));
    // 501 names a field that is valid and not offered.
    assert!(status < 500 || status == 501, "{path}: {}", String::from_utf8_lossy(&answer));
    status == 200
}

fn split(bytes: &[u8]) -> Option<(&'static str, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (line, body) = bytes.split_at(end);
    let path = SEEDS.iter().map(|(path, _)| *path).find(|path| path.as_bytes() == line)?;
    Some((path, &body[1..]))
}

fn status(answer: &[u8]) -> Option<u16> {
    std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_is_answered() {
        for seed in seeds() {
            assert!(request(&seed), "{}", String::from_utf8_lossy(&seed));
        }
    }
}
