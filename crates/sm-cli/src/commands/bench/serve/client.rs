//! One request to the server, and when its answer came.

use std::time::{Duration, Instant};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use super::dataset::Planned;
use super::events::Events;
use super::options::{Args, Backend, SamplingArgs};
use crate::failure::Failure;

/// What became of a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// When it was sent, from the start of the run.
    pub(super) sent: Duration,
    /// From sending it to its first text.
    pub(super) first: Duration,
    /// Between one text and the next.
    pub(super) gaps: Vec<Duration>,
    /// From sending it to the end of the answer.
    pub(super) total: Duration,
    /// As the server counts; the length that was asked for is in the plan.
    pub(super) n_input: usize,
    pub(super) n_output: usize,
    pub(super) text: String,
    /// Why it failed.
    pub(super) error: Option<String>,
}

/// A client of one server.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    url: String,
    model: String,
    backend: Backend,
    /// Fields of every request.
    fields: Map<String, Value>,
}

impl Client {
    /// A client of the server that the options name, with its model if they name none.
    ///
    /// # Errors
    /// If a header is invalid, or the server does not say what its models are.
    pub(super) async fn connect(args: &Args) -> Result<Self, Failure> {
        let invalid = |message| Failure::Option { flag: "--header", message };
        let mut headers = HeaderMap::new();
        for pair in &args.header {
            let name = HeaderName::try_from(&pair.name).map_err(|error| invalid(error.to_string()))?;
            let value = HeaderValue::try_from(&pair.value).map_err(|error| invalid(error.to_string()))?;
            headers.insert(name, value);
        }
        let base = args.base_url();
        let unreachable = |reason: String| Failure::Unreachable { url: base.clone(), reason };
        // A connection for each request: some servers close theirs after an answer, and a request that is on its way then fails.
        let http = reqwest::Client::builder().default_headers(headers).pool_max_idle_per_host(0).build();
        let http = http.map_err(|error| unreachable(chain(&error)))?;
        let model = match &args.model {
            Some(model) => model.clone(),
            None => first_model(&http, &base).await.map_err(unreachable)?,
        };
        let mut fields = sampling(&args.sampling);
        fields.extend(args.extra_body.clone().unwrap_or_default());
        let url = format!("{base}{}", args.endpoint());
        Ok(Self { http, url, model, backend: args.backend, fields })
    }

    pub(super) fn model(&self) -> &str {
        &self.model
    }

    fn body(&self, planned: &Planned) -> Value {
        let mut body = match self.backend {
            Backend::Openai => json!({"prompt": planned.prompt, "max_tokens": planned.n_output}),
            Backend::OpenaiChat => json!({
                "messages": [{"role": "user", "content": planned.prompt}],
                "max_completion_tokens": planned.n_output,
            }),
        };
        body["model"] = json!(self.model);
        body["stream"] = json!(true);
        body["stream_options"] = json!({"include_usage": true});
        if let Value::Object(body) = &mut body {
            body.extend(self.fields.clone());
        }
        body
    }

    /// Sends a request and reads its answer; `started` is when the run began.
    pub(super) async fn send(&self, planned: &Planned, started: Instant) -> Outcome {
        let mut outcome = Outcome { sent: started.elapsed(), ..Outcome::default() };
        if let Err(error) = self.exchange(planned, &mut outcome).await {
            outcome.error = Some(error);
        }
        outcome
    }

    async fn exchange(&self, planned: &Planned, outcome: &mut Outcome) -> Result<(), String> {
        let body = self.body(planned);
        let sent = Instant::now();
        let response = self.http.post(&self.url).json(&body).send().await;
        let mut response = response.map_err(|error| chain(&error))?;
        if !response.status().is_success() {
            let status = response.status();
            let body = response.text().await.unwrap_or_default();
            return Err(format!("{status}: {}", body.trim()));
        }
        let mut reader = Reader { sent, last: None, n_chunks: 0, is_done: false };
        let (mut events, mut complete) = (Events::default(), Vec::new());
        while let Some(bytes) = response.chunk().await.map_err(|error| chain(&error))? {
            events.push(&bytes, &mut complete);
            complete.drain(..).try_for_each(|event| reader.event(&event, outcome))?;
        }
        reader.end(outcome)
    }
}

/// Follows a stream.
#[derive(Debug)]
struct Reader {
    sent: Instant,
    /// When the last text came.
    last: Option<Instant>,
    n_chunks: usize,
    is_done: bool,
}

impl Reader {
    /// An event of the stream.
    fn event(&mut self, data: &str, outcome: &mut Outcome) -> Result<(), String> {
        if data == "[DONE]" {
            self.is_done = true;
            return Ok(());
        }
        let chunk: Value =
            serde_json::from_str(data).map_err(|error| format!("{error} in the event {data:?}"))?;
        if let Some(error) = chunk.get("error") {
            return Err(error["message"].as_str().map_or_else(|| error.to_string(), str::to_owned));
        }
        if let Some(text) = text_of(&chunk["choices"][0]) {
            let now = Instant::now();
            match self.last.replace(now) {
                None => outcome.first = now - self.sent,
                Some(last) => outcome.gaps.push(now - last),
            }
            self.n_chunks += 1;
            outcome.text.push_str(&text);
        }
        let count = |name| chunk["usage"][name].as_u64().map(|count| count as usize);
        outcome.n_input = count("prompt_tokens").unwrap_or(outcome.n_input);
        outcome.n_output = count("completion_tokens").unwrap_or(outcome.n_output);
        Ok(())
    }

    /// The end of the stream.
    fn end(self, outcome: &mut Outcome) -> Result<(), String> {
        let Some(last) = self.last else {
            return Err("the answer has no text".to_owned());
        };
        if !self.is_done {
            return Err(format!("the answer was cut off after {} chunks", self.n_chunks));
        }
        outcome.total = last - self.sent;
        if outcome.n_output == 0 {
            // A server that counts nothing sends one token at a time, as far as anybody can tell.
            outcome.n_output = self.n_chunks;
        }
        Ok(())
    }
}

/// The text of a choice in a chunk, if there is any.
fn text_of(choice: &Value) -> Option<String> {
    let delta = &choice["delta"];
    let parts = [&choice["text"], &delta["reasoning_content"], &delta["reasoning"], &delta["content"]];
    let mut text: String = parts.into_iter().filter_map(Value::as_str).collect();
    for call in delta["tool_calls"].as_array().into_iter().flatten() {
        let function = &call["function"];
        text.extend([&function["name"], &function["arguments"]].into_iter().filter_map(Value::as_str));
    }
    Some(text).filter(|text| !text.is_empty())
}

fn sampling(args: &SamplingArgs) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("temperature".to_owned(), json!(args.temperature.unwrap_or(0.0)));
    let optional = [
        ("top_p", args.top_p.map(|value| json!(value))),
        ("top_k", args.top_k.map(|value| json!(value))),
        ("min_p", args.min_p.map(|value| json!(value))),
        ("ignore_eos", args.ignore_eos.then(|| json!(true))),
    ];
    fields.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    fields
}

async fn first_model(http: &reqwest::Client, base: &str) -> Result<String, String> {
    let response = http.get(format!("{base}/v1/models")).send().await.map_err(|error| chain(&error))?;
    let status = response.status();
    let models: Value =
        response.json().await.map_err(|error| format!("GET /v1/models ({status}): {}", chain(&error)))?;
    let name = models["data"][0]["id"].as_str();
    name.map(str::to_owned)
        .ok_or_else(|| format!("GET /v1/models ({status}) lists no models; say which with --model"))
}

/// An error with its causes: the outermost only says what was asked for.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chunks: &[&str]) -> (Outcome, Result<(), String>) {
        let mut reader = Reader { sent: Instant::now(), last: None, n_chunks: 0, is_done: false };
        let mut outcome = Outcome::default();
        let read = chunks.iter().try_for_each(|chunk| reader.event(chunk, &mut outcome));
        let ended = read.and_then(|()| reader.end(&mut outcome));
        (outcome, ended)
    }

    #[test]
    fn empty_chunks_are_no_tokens() {
        let (outcome, ended) = read(&[
            r#"{"choices": [{"delta": {"role": "assistant", "content": ""}}]}"#,
            r#"{"choices": [{"delta": {"reasoning_content": "a"}}]}"#,
            r#"{"choices": [{"delta": {"content": "b"}}]}"#,
            r#"{"choices": [{"delta": {}, "finish_reason": "stop"}]}"#,
            r#"{"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}"#,
            "[DONE]",
        ]);
        assert_eq!(ended, Ok(()));
        assert_eq!(
            (outcome.text.as_str(), outcome.gaps.len(), outcome.n_input, outcome.n_output),
            ("ab", 1, 7, 3)
        );
    }

    #[test]
    fn what_is_cut_off_or_empty_or_an_error_has_failed() {
        let text = r#"{"choices": [{"text": "a"}]}"#;
        assert!(read(&[text]).1.unwrap_err().contains("cut off after 1"));
        assert!(read(&["[DONE]"]).1.unwrap_err().contains("no text"));
        let error = r#"{"error": {"message": "out of pages"}}"#;
        assert_eq!(read(&[text, error]).1.unwrap_err(), "out of pages");
    }
}
