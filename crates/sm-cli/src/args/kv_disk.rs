//! The disk tier of the KV cache.

use std::path::PathBuf;
use std::time::Duration;

use sm_runtime::{ByteSize, Engine, KvDiskConfig, KvDiskStats};

use crate::console::Console;

/// The disk tier of the KV cache.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Engine")]
pub(crate) struct KvDiskArgs {
    /// Store evicted keys and values in a file in DIR and reuse them, also in later runs
    #[arg(long, value_name = "DIR")]
    kv_disk: Option<PathBuf>,
    /// Maximum size of that file, as in 512M or 1.5GB, in powers of 1024
    #[arg(long, value_name = "N", requires = "kv_disk", default_value = "4G")]
    kv_disk_bytes: ByteSize,
}

impl KvDiskArgs {
    /// The runtime's options, which the runtime validates.
    pub(crate) fn config(&self) -> Option<KvDiskConfig> {
        let ByteSize(max_bytes) = self.kv_disk_bytes;
        self.kv_disk.clone().map(|dir| KvDiskConfig::new(dir, max_bytes))
    }

    /// Shuts the engine down, which writes what the cache still holds, and reports what was read from and written to the file, if
    /// there is one.
    pub(crate) fn report(&self, engine: &Engine, console: &Console) {
        if self.kv_disk.is_some() {
            // Nothing runs any more, and this is not the engine's own thread.
            let _ = engine.shut_down(Duration::ZERO);
            let KvDiskStats {
                stored_pages, spilled_pages, restored_pages, dropped_pages, damaged_pages, ..
            } = engine.stats().kv_disk;
            console.note(format_args!(
                "kv disk: {stored_pages} pages | {restored_pages} read, {spilled_pages} written, {dropped_pages} dropped, \
                 {damaged_pages} damaged"
            ));
        }
    }
}
