//! The disk tier as the engine's thread sees it: it alone knows what is stored, and never waits for the disk while requests
//! run.

use std::hash::Hasher as _;
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError};
use std::thread::JoinHandle;

use siphasher::sip128::{Hasher128 as _, SipHasher13};
use sm_batching::{CostModel, Scheduler, SequenceId, Upcoming};
use sm_cache::{
    Arrival, CacheEvent, CacheObserver, KvCache, KvCacheConfig, LeaseOwner, LeaseRequest, Namespace, Victim,
};
use sm_kernels::plan::{Executor, PAGE_LEN};
use sm_tensor::{PageId, TokenId};

use super::file::{Outcome, PageFile};
use super::pace::Pace;
use super::record::PageName;
use super::slots::Slots;
use super::worker::{self, Bell, Done, Job, PageRead};
use super::{KvDiskConfig, KvDiskStats};
use crate::Error;

/// Bytes of pages that wait to be written. What a step of a long prompt evicts at once should fit.
const WRITE_BYTES: usize = 64 << 20;
/// Bytes of pages that are read at a time.
const READ_BYTES: usize = 32 << 20;
/// What a tier is for.
pub(crate) struct Setup<'a> {
    pub(crate) config: &'a KvDiskConfig,
    /// Of requests without a salt.
    pub(crate) namespace: &'a Namespace,
    /// The executor's.
    pub(crate) page_bytes: usize,
    /// Wakes the engine.
    pub(crate) wake: Box<dyn Fn() + Send>,
}

/// What is stored, what is on its way to the disk, and what is on its way back.
#[derive(Debug)]
pub(crate) struct DiskTier {
    slots: Slots,
    /// `None` once the tier is closed.
    jobs: Option<SyncSender<Job>>,
    done: Receiver<Done>,
    thread: Option<JoinHandle<()>>,
    evicted: Receiver<Evicted>,
    /// `[page_bytes]` each.
    write_buffers: Vec<Vec<u8>>,
    read_buffers: Vec<Vec<u8>>,
    fetches: Vec<Fetch>,
    n_fetches: u64,
    last_number: u64,
    pace: Pace,
    stats: KvDiskStats,
}

/// A page that the cache has evicted and nobody has overwritten yet.
#[derive(Clone, Copy, Debug)]
struct Evicted {
    page: PageId,
    name: PageName,
}

/// Notes what is evicted. There is room for all pages, and none is evicted twice before it is overwritten.
#[derive(Debug)]
struct Evictions(SyncSender<Evicted>);

impl CacheObserver for Evictions {
    fn on_event(&mut self, event: &CacheEvent<'_>) {
        if let CacheEvent::Evicted { victim: Victim::Page(content), .. } = event
            && let Ok(tokens) = content.tokens.try_into()
        {
            let name = PageName { key: content.key, parent: content.parent, tokens };
            // An engine that is gone keeps no pages.
            let _ = self.0.try_send(Evicted { page: content.page, name });
        }
    }
}

/// Pages of a waiting request that are being read.
#[derive(Debug)]
struct Fetch {
    number: u64,
    id: SequenceId,
    namespace: Namespace,
    /// The tokens up to the end of the last page, and one more.
    tokens: Vec<TokenId>,
    /// Pages before the first that is read.
    n_before: usize,
    names: Vec<PageName>,
    n_asked: usize,
    n_installed: usize,
    /// Others that wait for the same pages.
    followers: Vec<SequenceId>,
}

impl DiskTier {
    /// Opens the file, starts its thread, and watches what `cache` evicts.
    ///
    /// # Errors
    /// If the cache keeps nothing that could be stored, or the file cannot be used.
    pub(crate) fn open(setup: Setup<'_>, cache: &mut KvCache) -> Result<Self, Error> {
        let Setup { config, namespace, page_bytes, wake } = setup;
        let KvCacheConfig { enabled, prefix_sharing, persist_across_requests, hash_key, .. } =
            *cache.config();
        if !(enabled && prefix_sharing && persist_across_requests) {
            let message = "pages are only kept where the cache is enabled, shares prefixes and persists across \
                           requests; turn these on or the disk tier off";
            return Err(Error::validation("kv_disk", message));
        }
        let (file, contents) = PageFile::open(config, fingerprint(namespace, hash_key), page_bytes)?;
        let slots = Slots::new(file.n_slots(), &contents.stored);
        let buffers = |n_bytes: usize| {
            let n_buffers = (n_bytes / page_bytes.max(1)).clamp(2, 1024);
            // Each for itself: memory that is never written takes no room.
            (0..n_buffers).map(|_| vec![0; page_bytes]).collect::<Vec<_>>()
        };
        let (write_buffers, read_buffers) = (buffers(WRITE_BYTES), buffers(READ_BYTES));
        // A job has a buffer, so no queue is ever full.
        let n_jobs = write_buffers.len() + read_buffers.len();
        let (jobs, received) = mpsc::sync_channel(n_jobs);
        let (results, done) = mpsc::sync_channel(n_jobs);
        let thread =
            worker::spawn(file, received, results, Bell(wake)).map_err(|source| Error::Thread { source })?;
        let (sender, evicted) = mpsc::sync_channel(cache.stats().n_pages);
        cache.watch(Box::new(Evictions(sender)));
        Ok(Self {
            stats: KvDiskStats { damaged_pages: contents.n_damaged, ..KvDiskStats::default() },
            slots,
            jobs: Some(jobs),
            done,
            thread: Some(thread),
            evicted,
            write_buffers,
            read_buffers,
            fetches: Vec::new(),
            n_fetches: 0,
            last_number: contents.last_number,
            pace: Pace::default(),
        })
    }

    /// What it holds and has done.
    pub(crate) fn stats(&self) -> KvDiskStats {
        KvDiskStats { stored_pages: self.slots.len(), max_pages: self.slots.max(), ..self.stats }
    }

    /// Hands over what was evicted; to be called before any page is overwritten. Where all buffers are on their way, pages
    /// are dropped.
    pub(crate) fn spill(&mut self, executor: &mut dyn Executor) {
        while let Ok(evicted) = self.evicted.try_recv() {
            match self.write_buffers.pop() {
                Some(buffer) => self.write(evicted, buffer, executor),
                None if self.slots.contains(evicted.name.key) => {}
                None => self.stats.dropped_pages += 1,
            }
        }
    }

    fn write(&mut self, Evicted { page, name }: Evicted, mut buffer: Vec<u8>, executor: &mut dyn Executor) {
        let is_stored = self.slots.find(name.key).is_some();
        if is_stored || executor.read_pages(&[page], &mut buffer).is_err() {
            self.write_buffers.push(buffer);
            return;
        }
        let slot = self.slots.take(name.key);
        self.last_number += 1;
        match self.send(Job::Write { slot, name, number: self.last_number, page: buffer }) {
            true => self.stats.spilled_pages += 1,
            false => self.stats.dropped_pages += 1,
        }
    }

    fn send(&self, job: Job) -> bool {
        self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok())
    }

    /// Begins to read what the file has of the pages that a waiting request could use, if that is cheaper than computing
    /// them; gives whether the request should wait for it.
    pub(crate) fn begin(&mut self, upcoming: &Upcoming<'_>, cache: &KvCache, cost: &CostModel) -> bool {
        let Upcoming { id, tokens, namespace } = *upcoming;
        if self.slots.len() == 0 || self.jobs.is_none() {
            return false;
        }
        let n_before = cache.shared_len(namespace, tokens) / PAGE_LEN;
        let names = self.stored_names(upcoming, n_before, cache);
        let Some(first) = names.first() else {
            return false;
        };
        let reads_it = |fetch: &&mut Fetch| fetch.names.iter().any(|name| name.key == first.key);
        if let Some(fetch) = self.fetches.iter_mut().find(reads_it) {
            fetch.followers.push(id);
            return true;
        }
        if !self.pace.is_worth(n_before, names.len(), cost) {
            self.stats.dearer_pages += names.len() as u64;
            return false;
        }
        self.n_fetches += 1;
        self.fetches.push(Fetch {
            number: self.n_fetches,
            id,
            namespace: namespace.clone(),
            tokens: tokens[..=(n_before + names.len()) * PAGE_LEN].to_vec(),
            n_before,
            names,
            n_asked: 0,
            n_installed: 0,
            followers: Vec::new(),
        });
        true
    }

    /// The pages behind the first `n_before` that are stored, without a gap, that leave a token to compute, and for which
    /// there is room in memory.
    fn stored_names(&self, upcoming: &Upcoming<'_>, n_before: usize, cache: &KvCache) -> Vec<PageName> {
        let Upcoming { tokens, namespace, .. } = *upcoming;
        let most = (tokens.len().saturating_sub(1) / PAGE_LEN).min(cache.n_available());
        let mut parent = cache.root_key(namespace);
        let names = cache.page_keys(namespace, tokens).zip(tokens.as_chunks().0).map(|(key, tokens)| {
            let name = PageName { key, parent, tokens: *tokens };
            parent = key;
            name
        });
        let behind = names.take(most).skip(n_before);
        behind.take_while(|name| self.slots.contains(name.key)).collect()
    }

    /// Takes in what the disk has done: puts pages into the cache, and lets requests go whose pages are there.
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
                        release(&fetch, scheduler);
                    }
                }
                Ok(Done::Written { slot, name, is_ok, page }) => {
                    self.write_buffers.push(page);
                    if !is_ok {
                        self.slots.forget(slot, name.key);
                        self.stats.dropped_pages += 1;
                    }
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    // Its thread is gone: nobody waits in vain.
                    self.jobs = None;
                    self.fetches.drain(..).for_each(|fetch| release(&fetch, scheduler));
                    return;
                }
            }
        }
    }

    /// Takes in a page that was read; gives the fetch that this ends.
    fn take_in(&mut self, read: PageRead, executor: &mut dyn Executor, cache: &mut KvCache) -> Option<Fetch> {
        let PageRead { slot, name, fetch, page, outcome, read_us } = read;
        self.pace.observe(read_us);
        if outcome == Outcome::Damaged {
            self.slots.forget(slot, name.key);
            self.stats.damaged_pages += 1;
        }
        let index = self.fetches.iter().position(|other| other.number == fetch);
        let Some(mut fetch) = index.map(|index| self.fetches.remove(index)) else {
            // It ended at an earlier page.
            self.read_buffers.push(page);
            return None;
        };
        let is_there = outcome == Outcome::Intact && self.install(&fetch, &page, executor, cache);
        self.read_buffers.push(page);
        fetch.n_installed += usize::from(is_there);
        if !is_there || fetch.n_installed == fetch.names.len() {
            return Some(fetch);
        }
        self.fetches.insert(index.unwrap_or_default(), fetch);
        None
    }

    /// Puts the next page of a fetch into the cache, where the request will find it; `false` if there is no room, or what
    /// comes before it is gone.
    fn install(
        &mut self,
        fetch: &Fetch,
        page: &[u8],
        executor: &mut dyn Executor,
        cache: &mut KvCache,
    ) -> bool {
        let index = fetch.n_before + fetch.n_installed;
        let (start, end) = (index * PAGE_LEN, (index + 1) * PAGE_LEN);
        let (owner, tokens) = (LeaseOwner::Request(&fetch.namespace), &fetch.tokens[..=end]);
        let lease = cache.lease(&LeaseRequest { owner, tokens, max_len: end, arrival: Arrival::Resumed });
        // Somebody else may have computed it meanwhile.
        let mut is_there = cache.computed(&lease) == end;
        if cache.computed(&lease) == start && cache.reserve(&lease, end, &mut Vec::new()).is_ok() {
            // For this page another one may have been evicted.
            self.spill(executor);
            is_there = executor.write_pages(&cache.pages(&lease)[index..=index], page).is_ok();
            if is_there {
                cache.commit_restored(&lease, tokens, end);
                self.stats.restored_pages += 1;
            }
        }
        cache.release(lease);
        is_there
    }

    /// Asks for pages as long as there are buffers, the oldest request's first.
    pub(crate) fn ask(&mut self, scheduler: &mut Scheduler) {
        let mut index = 0;
        while let Some(fetch) = self.fetches.get_mut(index) {
            let Some(name) = fetch.names.get(fetch.n_asked).copied() else {
                index += 1;
                continue;
            };
            let Some(slot) = self.slots.find(name.key) else {
                // Another page has its place now.
                release(&self.fetches.remove(index), scheduler);
                continue;
            };
            let Some(page) = self.read_buffers.pop() else {
                return;
            };
            fetch.n_asked += 1;
            let job = Job::Read { slot, name, fetch: fetch.number, page };
            if !self.send(job) {
                release(&self.fetches.remove(index), scheduler);
            }
        }
    }

    /// Stores what the cache holds, the most valuable last, and waits until it is written.
    pub(crate) fn close(mut self, executor: &mut dyn Executor, cache: &mut KvCache) {
        self.spill(executor);
        cache.trim(0);
        let evicted: Vec<Evicted> = self.evicted.try_iter().collect();
        let n_surplus = evicted.len().saturating_sub(self.slots.max());
        for evicted in evicted.into_iter().skip(n_surplus) {
            while self.write_buffers.is_empty() {
                match self.done.recv() {
                    Ok(Done::Written { page, .. }) => self.write_buffers.push(page),
                    Ok(Done::Read(_)) => {}
                    Err(_) => return,
                }
            }
            if let Some(buffer) = self.write_buffers.pop() {
                self.write(evicted, buffer, executor);
            }
        }
    }
}

impl Drop for DiskTier {
    /// Lets the thread finish what it was given.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic of it costs pages and nothing else.
            let _ = thread.join();
        }
    }
}

/// The request of a fetch may start, and those who waited for the same pages look again.
fn release(fetch: &Fetch, scheduler: &mut Scheduler) {
    scheduler.release_held(fetch.id);
    fetch.followers.iter().for_each(|id| scheduler.ask_again(*id));
}

/// Of all that decides what is in a page, but its tokens and a request's salt: these are in its key.
fn fingerprint(namespace: &Namespace, hash_key: [u8; 16]) -> u128 {
    let mut hasher = SipHasher13::new_with_key(&hash_key);
    let Namespace { model, kv_dtype, adapter, salt: _ } = namespace;
    for field in [model, kv_dtype, adapter] {
        hasher.write(&(field.len() as u64).to_le_bytes());
        hasher.write(field.as_bytes());
    }
    hasher.finish128().as_u128()
}
