//! Pages on their way to the disk and back, between two steps.

use std::sync::mpsc::Sender;

use sm_cache::{KvCache, Namespace};
use sm_kernels::plan::Executor;

use super::engine_loop::{Core, Message};
use crate::kv_disk::{DiskTier, TierParams};
use crate::{Error, KvDiskConfig};

/// Opens the disk tier of an engine that takes `messages`.
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
    /// Takes in what the disk has read, and lets those who wait and have pages there wait for them.
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

    /// Hands over what the cache has evicted, before a step overwrites it.
    pub(super) fn spill_pages(&mut self) {
        if let Some(disk) = &mut self.disk {
            disk.spill(&mut *self.executor);
        }
    }

    /// Stores what the cache holds when nothing runs any more.
    pub(super) fn close_disk(&mut self) {
        if let Some(disk) = self.disk.take() {
            disk.close(&mut *self.executor, &mut self.cache);
        }
    }
}
