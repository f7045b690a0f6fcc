//! Whether pages of keys and values are kept in a file.

use std::path::PathBuf;

use sm_runtime::{ByteSize, Engine, KvDiskConfig, KvDiskStats};

use crate::console::Console;

/// Whether pages of keys and values are kept in a file.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct KvDiskArgs {
    /// Keep keys and values that leave the memory in a file in DIR, and use them again, also in later runs; the text stays
    /// the same
    #[arg(long, value_name = "DIR")]
    kv_disk: Option<PathBuf>,
    /// The most bytes that the file may have: a number, with K, M, G or T behind it for powers of 1024
    #[arg(long, value_name = "N", requires = "kv_disk", default_value = "4G")]
    kv_disk_bytes: ByteSize,
}

impl KvDiskArgs {
    /// The options of the runtime, which checks their values.
    pub(crate) fn config(&self) -> Option<KvDiskConfig> {
        let ByteSize(max_bytes) = self.kv_disk_bytes;
        self.kv_disk.clone().map(|dir| KvDiskConfig::new(dir, max_bytes))
    }

    /// Reports how the disk tier was used, if there is one.
    pub(crate) fn report(&self, engine: &Engine, console: &Console) {
        if self.kv_disk.is_some() {
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
