//! Formats a configuration as text.

use std::fmt::{self, Debug, Formatter};

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

    fn put_option(&mut self, name: &str, value: Option<&dyn Debug>) -> fmt::Result {
        match value {
            Some(value) => self.put(name, value),
            None => writeln!(self.to, "{}.{name} = default", self.section),
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
    /// One `section.name = value` line per value, except secrets and derived values.
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
    let LoadOptions { device, context_len, quant, tokenizer, packed_dir, fingerprint: _, chat_template } =
        load;
    lines.put("device", &format_args!("{device}"))?;
    match context_len {
        Some(LoadOptions::MODEL_CONTEXT) => lines.put("context_len", &format_args!("the model's"))?,
        _ => lines.put_option("context_len", context_len.as_ref().map(|value| value as &dyn Debug))?,
    }
    lines.put_option("quant", quant.as_ref().map(|value| value as &dyn Debug))?;
    match tokenizer {
        TokenizerSource::Model => lines.put_option("tokenizer", None)?,
        TokenizerSource::File(path) => lines.put("tokenizer", path)?,
        TokenizerSource::Characters(_) => lines.put("tokenizer", &format_args!("characters"))?,
        TokenizerSource::Custom(_) => lines.put("tokenizer", &format_args!("custom"))?,
    }
    lines.put_option("packed_dir", packed_dir.as_ref().map(|value| value as &dyn Debug))?;
    match chat_template {
        Some(_) => lines.put("chat_template", &format_args!("custom")),
        None => lines.put_option("chat_template", None),
    }
}

fn executor_lines(executor: &ExecutorOptions, lines: &mut Lines<'_, '_>) -> fmt::Result {
    let ExecutorOptions {
        kv_dtype,
        n_sequences,
        max_step_tokens: _,
        max_outputs: _,
        kv_bytes: _,
        pool_bytes,
        memory_limit,
    } = executor;
    lines.put("kv_dtype", kv_dtype)?;
    lines.put("n_sequences", n_sequences)?;
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
    let values: [(&str, &dyn Debug); 16] = [
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
        ("max_total_tokens", max_total_tokens),
        ("bucket_size", bucket_size),
        ("order", order),
        ("priority_boost_after_us", priority_boost_after_us),
        ("prompt_weight", prompt_weight),
        ("output_weight", output_weight),
    ];
    values.into_iter().try_for_each(|(name, value)| lines.put(name, value))?;
    lines.put_option("target_itl_us", target_itl_us.as_ref().map(|value| value as &dyn Debug))?;
    lines.put_bytes("memory_limit", Some(*memory_limit_bytes))
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
mod tests {
    use crate::{EngineConfig, KvDiskConfig, Preset};

    #[test]
    fn every_value_has_a_line_and_secrets_have_none() {
        let mut config = Preset::Aggressive.config();
        config.kv_disk = Some(KvDiskConfig { dir: "pages".into(), max_bytes: 1 << 20 });
        config.batching.target_itl_us = Some(2000);
        let text = config.to_string();
        for line in [
            "executor.memory_limit = no limit",
            "load.device = auto",
            "load.tokenizer = default",
            "batching.adaptive = true",
            "batching.target_itl_us = 2000",
            "batching.memory_limit = 4.00 GB",
            "cache.gc_threshold_percent = 90",
            "speculation.max_draft_len = 6",
            "grammar.max_compile_ms = 2000",
            "kv_disk.max_bytes = 1.00 MB",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
        }
        assert!(!text.contains("hash_key"));
        // Structs of other crates may grow, and their derived text always has all fields.
        for (section, debug) in
            [("batching", format!("{:#?}", config.batching)), ("cache", format!("{:#?}", config.cache))]
        {
            let fields = debug.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(": "));
            let fields = fields.map(|(field, _)| field).filter(|field| !field.starts_with(' '));
            for field in fields.filter(|field| *field != "hash_key") {
                let start = format!("{section}.{}", field.trim_end_matches("_bytes"));
                assert!(text.lines().any(|line| line.starts_with(&start)), "{start} is not in:\n{text}");
            }
        }
        assert_eq!(EngineConfig::default().to_string().lines().count(), 42);
    }
}
