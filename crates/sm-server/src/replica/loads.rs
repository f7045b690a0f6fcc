//! `GET /v1/loads`

use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
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
) -> Result<Json<Value>, ApiError> {
    let Query(asked) = asked.map_err(|error| ApiError::invalid("", error.body_text()))?;
    let include = asked.include.as_deref().unwrap_or("all");
    let wanted: Vec<&str> = include.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if let Some(unknown) = wanted.iter().find(|name| !SECTIONS.contains(name)) {
        let message = format!("include: {unknown:?} is unknown; there are {}", SECTIONS.join(", "));
        return Err(ApiError::invalid("include", message));
    }
    let has = |name: &str| wanted.contains(&"all") || wanted.contains(&name);
    let engines: Vec<Engine> = app.models().loaded().into_iter().map(|(_, engine)| engine).collect();
    let load = Load::of(&engines);
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
    Ok(Json(json!({
        "timestamp": timestamp(SystemTime::now()),
        "version": env!("CARGO_PKG_VERSION"),
        "dp_rank_count": 1,
        "loads": loads,
    })))
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
}

impl Load {
    fn of(engines: &[Engine]) -> Self {
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
            "cache_hit_rate": share(self.hit_tokens as f64, prompt_tokens as f64),
            "utilization": share(self.running as f64, self.max_running as f64),
            "max_running_requests": self.max_running,
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
