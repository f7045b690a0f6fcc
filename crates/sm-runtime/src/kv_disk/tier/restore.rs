//! Restores stored pages for queued requests.

use std::sync::mpsc::TryRecvError;

use sm_batching::{CostModel, PrefetchRequest, Scheduler};
use sm_cache::KvCache;
use sm_kernels::plan::{Executor, PAGE_LEN};

use super::DiskTier;
use crate::kv_disk::fetch::{Fetch, FetchedState, Room};
use crate::kv_disk::file::Outcome;
use crate::kv_disk::record::{RecordKind, RecordName};
use crate::kv_disk::worker::{Done, Job, RecordRead};

impl DiskTier {
    /// Starts reading the stored pages that a queued request can use, if that is faster than computing them. Returns
    /// whether the request should wait.
    pub(crate) fn begin(&mut self, request: &PrefetchRequest<'_>, cache: &KvCache, cost: &CostModel) -> bool {
        if self.pages.slots.len() == 0 || self.jobs.is_none() {
            return false;
        }
        let n_before = cache.shared_len(request.namespace, request.tokens) / PAGE_LEN;
        let names = self.stored_names(request, n_before, cache);
        let Some(first) = names.first() else {
            return false;
        };
        let reads_it = |fetch: &&mut Fetch| fetch.names.iter().any(|name| name.key == first.key);
        if let Some(fetch) = self.fetches.iter_mut().find(reads_it) {
            fetch.followers.push(request.id);
            return true;
        }
        let n_states = usize::from(self.states.is_some());
        if !self.read_time.is_worth(n_before, names.len(), n_states, cost) {
            self.stats.skipped_pages += names.len() as u64;
            return false;
        }
        let state = if self.states.is_some() { FetchedState::Wanted } else { FetchedState::None };
        self.n_fetches += 1;
        self.fetches.push(Fetch::new(self.n_fetches, request, n_before, names, state));
        true
    }

    /// The contiguous stored pages after the first `n_before` that fit into memory and leave a token to compute; with
    /// states, up to the last page with a stored state.
    fn stored_names(
        &self,
        request: &PrefetchRequest<'_>,
        n_before: usize,
        cache: &KvCache,
    ) -> Vec<RecordName> {
        let PrefetchRequest { tokens, namespace, .. } = *request;
        let most = (tokens.len().saturating_sub(1) / PAGE_LEN).min(cache.n_available());
        let mut parent = cache.root_key(namespace);
        let names = cache.page_keys(namespace, tokens).zip(tokens.as_chunks().0).map(|(key, tokens)| {
            let name = RecordName { key, parent, tokens: *tokens };
            parent = key;
            name
        });
        let after = names.take(most).skip(n_before);
        let mut names: Vec<RecordName> =
            after.take_while(|name| self.pages.slots.contains(name.key)).collect();
        if let Some(states) = &self.states {
            let has_state = |name: &RecordName| states.slots.contains(name.key);
            let n_useful = names.iter().rposition(has_state).map_or(0, |last| last + 1);
            names.truncate(if cache.n_available_states() > 0 { n_useful } else { 0 });
        }
        names
    }

    /// Processes finished I/O: installs pages in the cache and releases requests whose pages have arrived.
    pub(crate) fn advance(
        &mut self,
        executor: &mut dyn Executor,
        cache: &mut KvCache,
        scheduler: &mut Scheduler,
    ) {
        loop {
            match self.done.try_recv() {
                Ok(Done::Read(read)) => {
                    if let Some(fetch) = self.take_in(read, executor, cache) {
                        self.finish(fetch, cache, scheduler);
                    }
                }
                Ok(Done::Written { kind, slot, name, is_ok, record }) => {
                    let shelf = self.shelf(kind);
                    shelf.write_buffers.push(record);
                    if !is_ok {
                        shelf.slots.forget(slot, name.key);
                        self.stats.dropped_pages += 1;
                    }
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    // The thread is gone: release everyone waiting for it.
                    self.jobs = None;
                    for fetch in std::mem::take(&mut self.fetches) {
                        self.finish(fetch, cache, scheduler);
                    }
                    return;
                }
            }
        }
    }

    /// Processes a record that was read. Returns the fetch it completes.
    fn take_in(
        &mut self,
        read: RecordRead,
        executor: &mut dyn Executor,
        cache: &mut KvCache,
    ) -> Option<Fetch> {
        let RecordRead { kind, slot, name, fetch, record, outcome, read_us } = read;
        self.read_time.observe(kind, read_us);
        if outcome == Outcome::Damaged {
            self.shelf(kind).slots.forget(slot, name.key);
            self.stats.damaged_pages += 1;
        }
        let Some(index) = self.fetches.iter().position(|other| other.number == fetch) else {
            // The fetch ended at an earlier record.
            self.shelf(kind).read_buffers.push(record);
            return None;
        };
        let mut fetch = self.fetches.remove(index);
        let is_intact = outcome == Outcome::Intact;
        let is_over = match kind {
            RecordKind::State if is_intact => {
                fetch.state = FetchedState::Read(record);
                false
            }
            RecordKind::State => {
                self.shelf(kind).read_buffers.push(record);
                true
            }
            RecordKind::Page => {
                let is_installed = is_intact && self.install(&mut fetch, &record, executor, cache);
                self.pages.read_buffers.push(record);
                !is_installed || fetch.is_complete()
            }
        };
        if is_over {
            return Some(fetch);
        }
        self.fetches.insert(index, fetch);
        None
    }

    /// Installs the next page of a fetch, and the state after the last, in the cache; `false` if there is no room or the
    /// preceding pages are gone.
    fn install(
        &mut self,
        fetch: &mut Fetch,
        page: &[u8],
        executor: &mut dyn Executor,
        cache: &mut KvCache,
    ) -> bool {
        let destination = match fetch.reserve_next(cache) {
            Room::Reserved(destination) => destination,
            Room::Known => return true,
            Room::None => return false,
        };
        let slot = match (&fetch.state, destination.has_state) {
            (FetchedState::Read(_), true) => {
                cache.reserve_restored_state(&destination.lease, destination.len).ok()
            }
            _ => None,
        };
        // Pages evicted for this one must be stored before they are overwritten.
        self.spill(executor);
        let page_id = cache.pages(&destination.lease)[destination.page_index];
        let mut is_written = executor.write_pages(&[page_id], page).is_ok();
        if destination.has_state {
            let written = match (&fetch.state, slot) {
                (FetchedState::Read(state), Some(slot)) => executor.write_states(&[slot], state).is_ok(),
                _ => false,
            };
            is_written &= written;
            self.stats.restored_states += u64::from(is_written);
        }
        if !is_written {
            cache.release(destination.lease);
            return false;
        }
        fetch.commit(destination, cache);
        self.stats.restored_pages += 1;
        true
    }

    /// Requests records while buffers are free, oldest request first.
    pub(crate) fn ask(&mut self, cache: &mut KvCache, scheduler: &mut Scheduler) {
        let mut index = 0;
        while let Some(fetch) = self.fetches.get(index) {
            let Some((kind, name)) = fetch.next_read() else {
                index += 1;
                continue;
            };
            let number = fetch.number;
            let shelf = self.shelf(kind);
            let Some(slot) = shelf.slots.find(name.key) else {
                // Its slot has been reused.
                let fetch = self.fetches.remove(index);
                self.finish(fetch, cache, scheduler);
                continue;
            };
            let Some(record) = shelf.read_buffers.pop() else {
                return;
            };
            if self.send(Job::Read { kind, slot, name, fetch: number, record }) {
                self.fetches[index].advance();
            } else {
                let fetch = self.fetches.remove(index);
                self.finish(fetch, cache, scheduler);
            }
        }
    }

    /// Releases the request of a fetch for admission, and retries those waiting for the same pages.
    fn finish(&mut self, mut fetch: Fetch, cache: &mut KvCache, scheduler: &mut Scheduler) {
        fetch.release(cache);
        if let FetchedState::Read(record) = std::mem::replace(&mut fetch.state, FetchedState::None) {
            self.shelf(RecordKind::State).read_buffers.push(record);
        }
        scheduler.finish_prefetch(fetch.id);
        fetch.followers.iter().for_each(|id| scheduler.retry_prefetch(*id));
    }
}
