//! One line per value.

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
        "load.tokenizer = the model's",
        "load.quant = as stored",
        "batching.adaptive = true",
        "batching.target_itl_us = 2000",
        "batching.memory_limit = no limit",
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
    assert_eq!(EngineConfig::default().to_string().lines().count(), 48);
}
