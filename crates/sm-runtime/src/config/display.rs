//! Formats a configuration as text.

use std::fmt::{self, Debug, Formatter};

use serde_json::Value;
use sm_batching::BatchingConfig;
use sm_cache::{ByteSize, KvCacheConfig};

use super::EngineConfig;
use crate::{ExecutorOptions, GrammarLimits, KvDiskConfig, LoadOptions, SpeculationConfig, TokenizerSource};

/// Writes one line: `section.name = value`.
struct Lines<'a, 'f> {
    to: &'a mut Formatter<'f>,
    section: &'static str,
}

impl Lines<'_, '_> {
    fn put(&mut self, name: &str, value: &dyn Debug) -> fmt::Result {
        writeln!(self.to, "{}.{name} = {value:?}", self.section)
    }

    /// `none` says what happens without a value.
    fn put_option<T: Debug>(&mut self, name: &str, value: Option<T>, none: &str) -> fmt::Result {
        match value {
            Some(value) => self.put(name, &value),
            None => self.put(name, &format_args!("{none}")),
        }
    }

    fn put_bytes(&mut self, name: &str, n_bytes: Option<u64>) -> fmt::Result {
        match n_bytes {
            Some(n_bytes) => writeln!(self.to, "{}.{name} = {}", self.section, ByteSize(n_bytes)),
            None => writeln!(self.to, "{}.{name} = no limit", self.section),
        }
    }
}

impl fmt::Display for EngineConfig {
    /// One `section.name = value` line per value, except secrets. Of [`Engine::config`](crate::Engine::config), the values in
    /// use.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { load, executor, batching, cache, speculation, grammar, kv_disk } = self;
        load_lines(load, &mut Lines { to: f, section: "load" })?;
        executor_lines(executor, &mut Lines { to: f, section: "executor" })?;
        batching_lines(batching, &mut Lines { to: f, section: "batching" })?;
        cache_lines(cache, &mut Lines { to: f, section: "cache" })?;
        let SpeculationConfig { lookup, max_draft_len } = speculation;
        let mut lines = Lines { to: f, section: "speculation" };
        lines.put("lookup", lookup)?;
        lines.put("max_draft_len", max_draft_len)?;
        let GrammarLimits { max_compile_ms, max_bytes } = grammar;
        let mut lines = Lines { to: f, section: "grammar" };
        lines.put("max_compile_ms", max_compile_ms)?;
        lines.put_bytes("max_bytes", Some(*max_bytes as u64))?;
        let Some(KvDiskConfig { dir, max_bytes }) = kv_disk else {
            return Ok(());
        };
        let mut lines = Lines { to: f, section: "kv_disk" };
        lines.put("dir", dir)?;
        lines.put_bytes("max_bytes", Some(*max_bytes))
    }
}

fn load_lines(load: &LoadOptions, lines: &mut Lines<'_, '_>) -> fmt::Result {
    let LoadOptions { device, context_len, quant, tokenizer, packed_dir, fingerprint: _, .. } = load;
    let LoadOptions { chat_template, template_variables, template_date, .. } = load;
    lines.put("device", &format_args!("{device}"))?;
    match context_len {
        Some(LoadOptions::MODEL_CONTEXT) => lines.put("context_len", &format_args!("the model's"))?,
        _ => lines.put_option("context_len", *context_len, "the model's, within limits")?,
    }
    lines.put_option("quant", *quant, "as stored")?;
    match tokenizer {
        TokenizerSource::Model => lines.put("tokenizer", &format_args!("the model's"))?,
        TokenizerSource::File(path) => lines.put("tokenizer", path)?,
        TokenizerSource::Characters(_) => lines.put("tokenizer", &format_args!("characters"))?,
        TokenizerSource::Custom(_) => lines.put("tokenizer", &format_args!("custom"))?,
    }
    lines.put_option("packed_dir", packed_dir.as_ref(), "none")?;
    let chat_template = chat_template.as_ref().map(|_| format_args!("custom"));
    lines.put_option("chat_template", chat_template, "the model's")?;
    let variables = (!template_variables.is_empty()).then(|| Value::Object(template_variables.clone()));
    lines.put_option("template_variables", variables, "none")?;
    lines.put("template_date", template_date)
}

fn executor_lines(executor: &ExecutorOptions, lines: &mut Lines<'_, '_>) -> fmt::Result {
    let ExecutorOptions {
        kv_dtype,
        n_sequences,
        n_reserved_sequences,
        max_step_tokens,
        max_outputs,
        kv_bytes,
        pool_bytes,
        memory_limit,
    } = executor;
    lines.put("kv_dtype", kv_dtype)?;
    lines.put("n_sequences", n_sequences)?;
    lines.put("n_reserved_sequences", n_reserved_sequences)?;
    lines.put("max_step_tokens", max_step_tokens)?;
    lines.put("max_outputs", max_outputs)?;
    lines.put_bytes("kv_bytes", *kv_bytes)?;
    lines.put_bytes("pool_bytes", *pool_bytes)?;
    lines.put_bytes("memory_limit", *memory_limit)
}

fn batching_lines(batching: &BatchingConfig, lines: &mut Lines<'_, '_>) -> fmt::Result {
    let BatchingConfig {
        enabled,
        strategy,
        prefill_only,
        max_batch_size,
        adaptive,
        max_batch_wait_us,
        max_queued_requests,
        max_queued_tokens,
        max_step_tokens,
        max_chunk_tokens,
        target_itl_us,
        max_total_tokens,
        memory_limit_bytes,
        bucket_size,
        order,
        priority_boost_after_us,
        prompt_weight,
        output_weight,
        ..
    } = batching;
    let values: [(&str, &dyn Debug); 15] = [
        ("enabled", enabled),
        ("strategy", strategy),
        ("prefill_only", prefill_only),
        ("max_batch_size", max_batch_size),
        ("adaptive", adaptive),
        ("max_batch_wait_us", max_batch_wait_us),
        ("max_queued_requests", max_queued_requests),
        ("max_queued_tokens", max_queued_tokens),
        ("max_step_tokens", max_step_tokens),
        ("max_chunk_tokens", max_chunk_tokens),
        ("bucket_size", bucket_size),
        ("order", order),
        ("priority_boost_after_us", priority_boost_after_us),
        ("prompt_weight", prompt_weight),
        ("output_weight", output_weight),
    ];
    values.into_iter().try_for_each(|(name, value)| lines.put(name, value))?;
    lines.put_option("target_itl_us", *target_itl_us, "none")?;
    lines.put_option("max_total_tokens", *max_total_tokens, "no limit")?;
    lines.put_bytes("memory_limit", *memory_limit_bytes)
}

fn cache_lines(cache: &KvCacheConfig, lines: &mut Lines<'_, '_>) -> fmt::Result {
    let KvCacheConfig {
        enabled,
        max_tokens_per_session,
        max_bytes_per_session,
        max_sessions,
        max_bytes_total,
        policy,
        persist_across_requests,
        prefix_sharing,
        high_watermark_percent,
        gc_threshold_percent,
        ..
    } = cache;
    lines.put("enabled", enabled)?;
    lines.put("max_tokens_per_session", max_tokens_per_session)?;
    lines.put_bytes("max_bytes_per_session", *max_bytes_per_session)?;
    lines.put("max_sessions", max_sessions)?;
    lines.put_bytes("max_bytes_total", Some(*max_bytes_total))?;
    lines.put("policy", policy)?;
    lines.put("persist_across_requests", persist_across_requests)?;
    lines.put("prefix_sharing", prefix_sharing)?;
    lines.put("high_watermark_percent", high_watermark_percent)?;
    lines.put("gc_threshold_percent", gc_threshold_percent)
}

#[cfg(test)]
mod tests;
