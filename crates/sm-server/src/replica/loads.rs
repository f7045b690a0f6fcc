//! `GET /v1/loads`
//!
//! The form is that of SGLang (`python/sglang/srt/entrypoints/v1_loads.py`, `GetLoadsReqOutput` in `managers/io_struct.py`) with what
//! its earlier versions had beside: `dp_rank_count`, `num_total_reqs` and `aggregate`, which smg reads (`WorkerLoadResponse` in
//! `crates/protocols/src/worker.rs`). smg asks for `include=core,disagg,queues,memory` every few seconds.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use sm_runtime::Engine;

use crate::app::App;
use crate::error::ApiError;
use crate::wire::ollama::timestamp;

/// Which parts of the answer are wanted.
#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    /// Names of sections with commas between them; all by default.
    include: Option<String>,
    /// The number of a replica in a process, of which there is one.
    dp_rank: Option<usize>,
    /// `json`, or `prometheus` for gauges.
    format: Option<String>,
}

/// The sections of SGLang's answer. Those that are not here have no figures.
const SECTIONS: [&str; 7] = ["all", "core", "disagg", "lora", "memory", "queues", "spec"];

/// How busy the models are that are loaded, together: in the form of SGLang, whose routers ask for it.
///
/// # Errors
/// If a section is unknown.
pub(crate) async fn get(
    State(app): State<App>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(asked) = asked.map_err(|error| ApiError::invalid("", error.body_text()))?;
    let include = asked.include.as_deref().unwrap_or("all");
    let wanted: Vec<&str> = include.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if let Some(unknown) = wanted.iter().find(|name| !SECTIONS.contains(name)) {
        let message = format!("include: {unknown:?} is unknown; there are {}", SECTIONS.join(", "));
        return Err(ApiError::invalid("include", message));
    }
    let is_text = match asked.format.as_deref() {
        None | Some("json") => false,
        Some("prometheus") => true,
        Some(other) => {
            let message = format!("format: must be json or prometheus, not {other:?}");
            return Err(ApiError::invalid("format", message));
        }
    };
    let has = |name: &str| wanted.contains(&"all") || wanted.contains(&name);
    let engines: Vec<Engine> = app.models().loaded().into_iter().map(|(_, engine)| engine).collect();
    let recent = app.config().recent.as_ref().map(|recent| recent.summary());
    // The figure of the last step that generated something; an idle server generates nothing.
    let throughput = recent.map_or(0.0, |recent| recent.tokens_per_second.latest);
    let load = Load::of(&engines, throughput);
    let mut entry = json!({"dp_rank": 0, "timestamp": seconds()});
    let sections = [("core", load.core()), ("memory", load.memory()), ("queues", load.queues())];
    for (name, section) in sections.into_iter().filter(|(name, _)| has(name)) {
        match (name, section) {
            ("core", Value::Object(fields)) => {
                fields.into_iter().for_each(|(name, value)| entry[name] = value);
            }
            (name, section) => entry[name] = section,
        }
    }
    let loads: Vec<Value> =
        [entry].into_iter().filter(|_| asked.dp_rank.is_none_or(|rank| rank == 0)).collect();
    if is_text {
        return Ok(gauges(&loads));
    }
    let aggregate = loads.first().map(|_| load.aggregate());
    Ok(Json(json!({
        "timestamp": timestamp(SystemTime::now()),
        "version": env!("CARGO_PKG_VERSION"),
        "accelerator": null,
        "num_accelerators": 1,
        "dp_rank_count": loads.len(),
        "loads": loads,
        "aggregate": aggregate,
    }))
    .into_response())
}

/// How many requests are here, running or waiting: `GET /get_load`, of which vllm-router 0.1 reads `load` (`get_worker_load` in
/// `src/routers/http/router.rs`), and other routers that came from SGLang's first one.
pub(crate) async fn total(State(app): State<App>) -> Json<Value> {
    let engines: Vec<Engine> = app.models().loaded().into_iter().map(|(_, engine)| engine).collect();
    let Load { running, waiting, .. } = Load::of(&engines, 0.0);
    Json(json!({"load": running + waiting, "num_running_reqs": running, "num_waiting_reqs": waiting}))
}

/// The loads as gauges in Prometheus' text format, in SGLang's names.
fn gauges(loads: &[Value]) -> Response {
    let mut text = String::new();
    let mut gauge = |name: &str, rank: &Value, value: &Value| {
        if value.is_number() {
            text.push_str(&format!(
                "# TYPE sglang_{name} gauge\nsglang_{name}{{dp_rank=\"{rank}\"}} {value}\n"
            ));
        }
    };
    for load in loads {
        let rank = &load["dp_rank"];
        for (name, value) in load.as_object().into_iter().flatten().filter(|(name, _)| *name != "dp_rank") {
            match value.as_object() {
                None => gauge(name, rank, value),
                Some(section) => {
                    section.iter().for_each(|(field, value)| gauge(&format!("{name}_{field}"), rank, value));
                }
            }
        }
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

fn seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// Sums over models.
#[derive(Default)]
struct Load {
    running: usize,
    waiting: usize,
    max_running: usize,
    used_tokens: usize,
    max_tokens: usize,
    hit_tokens: u64,
    computed_tokens: u64,
    weight_bytes: u64,
    kv_bytes: u64,
    /// Tokens per second.
    throughput: f64,
}

impl Load {
    fn of(engines: &[Engine], throughput: f64) -> Self {
        let mut load = Self::default();
        for engine in engines {
            let (stats, info) = (engine.stats(), engine.info());
            load.running += stats.running;
            load.waiting += stats.waiting;
            load.max_running += stats.max_running.unwrap_or(0);
            let page_len = engine.memory_plan(0, 0).pool.page_len;
            load.used_tokens += stats.cache.pinned_pages * page_len;
            load.max_tokens += stats.cache.n_pages * page_len;
            load.hit_tokens += stats.cache.reused_tokens;
            load.computed_tokens += stats.cache.computed_tokens;
            load.weight_bytes += info.weight_bytes as u64;
            load.kv_bytes += info.kv_bytes as u64;
        }
        load.throughput = if load.running > 0 { throughput } else { 0.0 };
        load
    }

    fn core(&self) -> Value {
        let prompt_tokens = self.hit_tokens + self.computed_tokens;
        json!({
            "num_running_reqs": self.running,
            "num_waiting_reqs": self.waiting,
            "num_total_reqs": self.running + self.waiting,
            "num_used_tokens": self.used_tokens,
            "max_total_num_tokens": self.max_tokens,
            "token_usage": share(self.used_tokens as f64, self.max_tokens as f64),
            "gen_throughput": self.throughput,
            "cache_hit_rate": share(self.hit_tokens as f64, prompt_tokens as f64),
            "utilization": share(self.running as f64, self.max_running as f64),
            "max_running_requests": self.max_running,
        })
    }

    /// The sums over replicas in this process, of which there is one.
    fn aggregate(&self) -> Value {
        json!({
            "total_running_reqs": self.running,
            "total_waiting_reqs": self.waiting,
            "total_reqs": self.running + self.waiting,
            "avg_token_usage": share(self.used_tokens as f64, self.max_tokens as f64),
            "avg_throughput": self.throughput,
            "avg_utilization": share(self.running as f64, self.max_running as f64),
        })
    }

    fn memory(&self) -> Value {
        let gigabytes = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        json!({
            "weight_gb": gigabytes(self.weight_bytes),
            "kv_cache_gb": gigabytes(self.kv_bytes),
            "graph_gb": 0.0,
            "token_capacity": self.max_tokens,
        })
    }

    fn queues(&self) -> Value {
        json!({"waiting": self.waiting, "grammar": 0, "paused": 0, "retracted": 0})
    }
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
