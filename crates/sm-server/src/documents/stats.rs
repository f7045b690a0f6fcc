//! `GET /stats`: what the engines do, by model.

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};
use sm_runtime::{Distribution, ModelHandle, ModelState, RecentSummary};

use super::model_info::state;
use crate::app::App;

/// The statistics of all models, and at the top those of the default model, as the document has them. A model that is not loaded
/// has a state and nothing else.
pub(crate) async fn get(State(app): State<App>) -> Json<Value> {
    let mut models = Map::new();
    let mut top = json!({"engine_status": "stopped"});
    for model in app.models().list() {
        let mut stats = json!({"engine_status": state(model.state), "memory_bytes": model.memory_bytes});
        if model.state == ModelState::Ready
            && let Ok(loaded) = app.models().acquire(&model.name)
            && let Ok(handle) = loaded.await
        {
            stats = of_model(&handle, model.memory_bytes);
        }
        let default = &app.config().default_model;
        if model.name == *default || model.aliases.contains(default) {
            top = stats.clone();
        }
        models.insert(model.name, stats);
    }
    if app.is_draining() {
        top["engine_status"] = "draining".into();
    }
    top["performance_metrics"] =
        app.config().recent.as_ref().map_or(Value::Null, |recent| performance(&recent.summary()));
    top["models"] = models.into();
    Json(top)
}

fn of_model(model: &ModelHandle, memory_bytes: u64) -> Value {
    let stats = model.stats();
    let (cache, batching) = (&stats.cache, &stats.batching);
    json!({
        "engine_status": "running",
        "active_sessions": stats.running,
        "queued_requests": stats.waiting,
        "max_concurrent_sessions": stats.max_running,
        "available_slots": stats.available_slots(),
        "memory_usage": stats.memory_usage(),
        "memory_bytes": memory_bytes,
        "cache_info": {
            "num_entries": cache.cached_pages,
            "pages": cache.n_pages,
            "pinned_pages": cache.pinned_pages,
            "sessions": cache.current_sessions,
            "current_bytes": cache.current_bytes,
            "peak_bytes": cache.peak_bytes,
            "max_bytes": cache.max_bytes,
            "hits": cache.hits,
            "misses": cache.misses,
            "hit_rate": cache.hit_rate(),
            "reused_tokens": cache.reused_tokens,
            "computed_tokens": cache.computed_tokens,
            "evictions": cache.evictions,
        },
        "batching": {
            "steps": batching.steps,
            "average_batch_size": stats.average_batch_size(),
            "average_wait_ms": stats.average_wait_ms(),
            "padding_efficiency": stats.padding_efficiency(),
            "generated_tokens": batching.generated_tokens,
            "preempted": batching.preempted,
            "finished": batching.finished,
            "cancelled": batching.cancelled,
            "timed_out": batching.timed_out,
            "failed": batching.failed,
        },
        "speculation": {
            "drafted": stats.speculation.drafted,
            "accepted": stats.speculation.accepted,
            "acceptance_rate": stats.speculation.acceptance(),
        },
    })
}

/// Of all models together. The document counts seconds, we milliseconds beside them.
fn performance(summary: &RecentSummary) -> Value {
    json!({
        "batch_processing_time": distribution(&summary.step_ms, 1e-3),
        "tokens_per_second": distribution(&summary.tokens_per_second, 1.0),
        "batch_size": distribution(&summary.batch_size, 1.0),
        "queue_depth": distribution(&summary.queue_depth, 1.0),
        "queue_ms": distribution(&summary.queue_ms, 1.0),
        "first_token_ms": distribution(&summary.first_token_ms, 1.0),
        "inter_token_ms": distribution(&summary.inter_token_ms, 1.0),
        "total_ms": distribution(&summary.total_ms, 1.0),
    })
}

fn distribution(of: &Distribution, unit: f64) -> Value {
    json!({
        "count": of.count,
        "mean": of.mean * unit,
        "min": of.min * unit,
        "max": of.max * unit,
        "latest": of.latest * unit,
        "p50": of.p50 * unit,
        "p90": of.p90 * unit,
        "p95": of.p95 * unit,
        "p99": of.p99 * unit,
    })
}
