//! Moves pages to disk and back between steps.

use std::sync::mpsc::Sender;

use sm_cache::{KvCache, Namespace};
use sm_kernels::plan::Executor;

use super::engine_loop::{Core, Message};
use crate::kv_disk::{DiskTier, TierParams};
use crate::{Error, KvDiskConfig};

/// Opens the disk tier of an engine that receives `messages`.
///
/// # Errors
/// As [`DiskTier::open`].
pub(super) fn open_disk(
    config: &KvDiskConfig,
    namespace: &Namespace,
    executor: &dyn Executor,
    cache: &mut KvCache,
    messages: Sender<Message>,
) -> Result<DiskTier, Error> {
    let wake = Box::new(move || _ = messages.send(Message::Wake));
    DiskTier::open(TierParams { config, namespace, executor, wake }, cache)
}

impl Core {
    /// Installs pages read from disk, and holds back queued requests whose pages are on disk.
    pub(super) fn fetch_pages(&mut self) {
        let now_us = self.now_us();
        let Self { disk: Some(disk), executor, cache, scheduler, .. } = self else {
            return;
        };
        disk.advance(&mut **executor, cache, scheduler);
        let cost = scheduler.cost().clone();
        scheduler.begin_prefetch(now_us, cache, |upcoming| disk.begin(&upcoming, cache, &cost));
        disk.ask(cache, scheduler);
    }

    /// Hands evicted pages to the disk tier before a step overwrites them.
    pub(super) fn spill_pages(&mut self) {
        if let Some(disk) = &mut self.disk {
            disk.spill(&mut *self.executor);
        }
    }

    /// Stores the cache contents once nothing runs.
    pub(super) fn close_disk(&mut self) {
        if let Some(disk) = &mut self.disk {
            disk.close(&mut *self.executor, &mut self.cache);
        }
    }
}
