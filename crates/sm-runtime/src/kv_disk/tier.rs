//! The disk tier from the engine thread's side. Only this thread knows what is stored, and it never waits for the disk
//! while requests run.

mod restore;

use std::hash::Hasher as _;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::JoinHandle;

use siphasher::sip128::{Hasher128 as _, SipHasher13};
use sm_cache::{CacheEvent, CacheObserver, KvCache, KvCacheConfig, Namespace, Victim};
use sm_kernels::plan::{ExecError, Executor};
use sm_tensor::{PageId, StateSlot};

use super::fetch::Fetch;
use super::file::{FileParams, RecordFile};
use super::read_time::ReadTime;
use super::record::{RecordKind, RecordName};
use super::shelf::Shelf;
use super::worker::{self, Done, EngineWaker, Files, Job};
use super::{KvDiskConfig, KvDiskStats};
use crate::{Error, LoadError};

/// Parameters of a tier.
pub(crate) struct TierParams<'a> {
    pub(crate) config: &'a KvDiskConfig,
    /// The namespace of requests without a salt.
    pub(crate) namespace: &'a Namespace,
    /// The executor whose pages and states are stored.
    pub(crate) executor: &'a dyn Executor,
    /// Wakes the engine.
    pub(crate) wake: Box<dyn Fn() + Send>,
}

/// Stored records, and those in flight to and from disk.
#[derive(Debug)]
pub(crate) struct DiskTier {
    pages: Shelf,
    /// For models with recurrent states.
    states: Option<Shelf>,
    /// `None` once the tier is closed.
    jobs: Option<SyncSender<Job>>,
    done: Receiver<Done>,
    thread: Option<JoinHandle<()>>,
    evicted: Receiver<Evicted>,
    fetches: Vec<Fetch>,
    n_fetches: u64,
    read_time: ReadTime,
    stats: KvDiskStats,
}

/// An evicted page or state that has not been overwritten yet.
#[derive(Clone, Copy, Debug)]
struct Evicted {
    name: RecordName,
    page: Option<PageId>,
    /// The state after the page.
    state: Option<StateSlot>,
}

/// Records evictions. The channel holds all pages and states, and nothing is evicted twice before it is overwritten.
#[derive(Debug)]
struct Evictions(SyncSender<Evicted>);

impl CacheObserver for Evictions {
    fn on_event(&mut self, event: &CacheEvent<'_>) {
        let CacheEvent::Evicted { victim, .. } = event else { return };
        let (content, page) = match victim {
            Victim::Page(content) => (content, Some(content.page)),
            Victim::Snapshot(content) => (content, None),
            _ => return,
        };
        if let Ok(tokens) = content.tokens.try_into() {
            let name = RecordName { key: content.key, parent: content.parent, tokens };
            // Fails only if the engine is gone.
            let _ = self.0.try_send(Evicted { name, page, state: content.snapshot });
        }
    }
}

impl DiskTier {
    /// Opens the files, starts the I/O thread, and observes evictions from `cache`.
    ///
    /// # Errors
    /// If the cache keeps nothing to store, or a file cannot be used.
    pub(crate) fn open(params: TierParams<'_>, cache: &mut KvCache) -> Result<Self, Error> {
        let TierParams { config, namespace, executor, wake } = params;
        let KvCacheConfig { enabled, prefix_sharing, persist_across_requests, hash_key, .. } =
            *cache.config();
        if !(enabled && prefix_sharing && persist_across_requests) {
            let message = "pages are only kept if the cache is enabled, shares prefixes and persists across \
                           requests; turn these on or the disk tier off";
            return Err(Error::validation("kv_disk", message));
        }
        let state_bytes = executor.state_bytes();
        let is_stateful = state_bytes > 0;
        let max_bytes = if is_stateful { config.max_bytes / 2 } else { config.max_bytes };
        let file_params = |kind, record_bytes| FileParams {
            kind,
            dir: &config.dir,
            max_bytes,
            fingerprint: fingerprint(namespace, hash_key),
            record_bytes,
        };
        let open = |kind, record_bytes| -> Result<(RecordFile, Shelf, u64), Error> {
            let (file, contents) = RecordFile::open(&file_params(kind, record_bytes))?;
            let shelf = Shelf::new(file.n_slots(), &contents, record_bytes)?;
            Ok((file, shelf, contents.n_damaged))
        };
        let (page_file, pages, mut n_damaged) = open(RecordKind::Page, executor.page_bytes())?;
        let (state_file, states) = if is_stateful {
            let (file, shelf, n_damaged_states) = open(RecordKind::State, state_bytes)?;
            n_damaged += n_damaged_states;
            (Some(file), Some(shelf))
        } else {
            RecordFile::remove(RecordKind::State, &config.dir);
            (None, None)
        };
        // Every job owns a buffer, so the queue is never full.
        let n_jobs = pages.max_jobs() + states.as_ref().map_or(0, Shelf::max_jobs);
        let (jobs, received) = mpsc::sync_channel(n_jobs);
        let (results, done) = mpsc::sync_channel(n_jobs);
        let files = Files { pages: page_file, states: state_file, has_reported: false };
        let thread = worker::spawn(files, received, results, EngineWaker(wake))
            .map_err(|source| LoadError::Thread { name: worker::THREAD, source })?;
        let (sender, evicted) = mpsc::sync_channel(executor.limits().n_pages + executor.n_state_slots());
        cache.watch(Box::new(Evictions(sender)));
        Ok(Self {
            stats: KvDiskStats { damaged_pages: n_damaged, ..KvDiskStats::default() },
            pages,
            states,
            jobs: Some(jobs),
            done,
            thread: Some(thread),
            evicted,
            fetches: Vec::new(),
            n_fetches: 0,
            read_time: ReadTime::default(),
        })
    }

    /// Current statistics.
    pub(crate) fn stats(&self) -> KvDiskStats {
        let states = self.states.as_ref();
        KvDiskStats {
            stored_pages: self.pages.slots.len(),
            max_pages: self.pages.slots.max(),
            stored_states: states.map_or(0, |states| states.slots.len()),
            max_states: states.map_or(0, |states| states.slots.max()),
            ..self.stats
        }
    }

    fn shelf(&mut self, kind: RecordKind) -> &mut Shelf {
        match kind {
            RecordKind::Page => &mut self.pages,
            RecordKind::State => {
                self.states.as_mut().expect("states are only stored for models with recurrent states")
            }
        }
    }

    /// Queues evicted pages and states for writing; drops them if no buffer is free. Call before any page or state is
    /// overwritten.
    pub(crate) fn spill(&mut self, executor: &mut dyn Executor) {
        while let Ok(evicted) = self.evicted.try_recv() {
            self.store(evicted, executor);
        }
    }

    fn store(&mut self, evicted: Evicted, executor: &mut dyn Executor) {
        let Evicted { name, page, state } = evicted;
        if let Some(page) = page {
            self.store_record(RecordKind::Page, name, |bytes| executor.read_pages(&[page], bytes));
        }
        if let Some(state) = state {
            self.store_record(RecordKind::State, name, |bytes| executor.read_states(&[state], bytes));
        }
    }

    fn store_record(
        &mut self,
        kind: RecordKind,
        name: RecordName,
        read: impl FnOnce(&mut [u8]) -> Result<(), ExecError>,
    ) {
        let shelf = self.shelf(kind);
        if shelf.slots.find(name.key).is_some() {
            return;
        }
        let Some(mut record) = shelf.write_buffers.pop() else {
            self.stats.dropped_pages += 1;
            return;
        };
        if read(&mut record).is_err() {
            shelf.write_buffers.push(record);
            return;
        }
        let (slot, number) = shelf.take(name);
        if !self.send(Job::Write { kind, slot, name, number, record }) {
            self.stats.dropped_pages += 1;
            return;
        }
        match kind {
            RecordKind::Page => self.stats.spilled_pages += 1,
            RecordKind::State => self.stats.spilled_states += 1,
        }
    }

    fn send(&self, job: Job) -> bool {
        self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok())
    }

    /// Stores the cache contents, most valuable last, and waits for the writes. The counters stay readable.
    pub(crate) fn close(&mut self, executor: &mut dyn Executor, cache: &mut KvCache) {
        self.fetches.iter_mut().for_each(|fetch| fetch.release(cache));
        self.spill(executor);
        cache.trim(0);
        let evicted: Vec<Evicted> = self.evicted.try_iter().collect();
        // Skip the least valuable records, which come first: the file would replace them anyway.
        let mut n_pages = evicted.iter().filter(|evicted| evicted.page.is_some()).count();
        let mut n_states = evicted.iter().filter(|evicted| evicted.state.is_some()).count();
        let max_states = self.states.as_ref().map_or(0, |states| states.slots.max());
        for Evicted { name, page, state } in evicted {
            let page_fits = n_pages <= self.pages.slots.max();
            let state_fits = n_states <= max_states;
            n_pages -= usize::from(page.is_some());
            n_states -= usize::from(state.is_some());
            let evicted =
                Evicted { name, page: page.filter(|_| page_fits), state: state.filter(|_| state_fits) };
            if !self.wait_for_buffers() {
                break;
            }
            self.store(evicted, executor);
        }
        self.join();
    }

    /// Waits for queued jobs to finish.
    fn join(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic there only costs pages.
            let _ = thread.join();
        }
    }

    /// Waits for a free page and state buffer; `false` if the thread is gone.
    fn wait_for_buffers(&mut self) -> bool {
        let has_buffer = |shelf: &Shelf| !shelf.write_buffers.is_empty();
        while !(has_buffer(&self.pages) && self.states.as_ref().is_none_or(has_buffer)) {
            match self.done.recv() {
                Ok(Done::Written { kind, record, .. }) => self.shelf(kind).write_buffers.push(record),
                Ok(Done::Read(_)) => {}
                Err(_) => return false,
            }
        }
        true
    }
}

impl Drop for DiskTier {
    fn drop(&mut self) {
        self.join();
    }
}

/// Covers everything that determines a page's content, except its tokens and the request's salt, which are in its key.
fn fingerprint(namespace: &Namespace, hash_key: [u8; 16]) -> u128 {
    let mut hasher = SipHasher13::new_with_key(&hash_key);
    let Namespace { model, kv_dtype, adapter, salt: _ } = namespace;
    for field in [model, kv_dtype, adapter] {
        hasher.write(&(field.len() as u64).to_le_bytes());
        hasher.write(field.as_bytes());
    }
    hasher.finish128().as_u128()
}
