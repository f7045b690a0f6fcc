//! The I/O thread. It processes jobs in order, so a queued record is visible to every later read.

use std::sync::mpsc::{Receiver, SyncSender};
use std::thread::JoinHandle;
use std::time::Instant;

use tracing::warn;

use super::file::{Outcome, RecordFile};
use super::record::{RecordKind, RecordName};
use crate::files;

/// The name of the thread.
pub(super) const THREAD: &str = "sm-kv-disk";

/// An I/O job. Its buffer `record`, `[record_bytes]`, is returned.
#[derive(Debug)]
pub(super) enum Job {
    Write { kind: RecordKind, slot: u32, name: RecordName, number: u64, record: Vec<u8> },
    Read { kind: RecordKind, slot: u32, name: RecordName, fetch: u64, record: Vec<u8> },
}

/// A finished job.
#[derive(Debug)]
pub(super) enum Done {
    Written { kind: RecordKind, slot: u32, name: RecordName, is_ok: bool, record: Vec<u8> },
    Read(RecordRead),
}

/// A record that was read, if intact.
#[derive(Debug)]
pub(super) struct RecordRead {
    pub(super) kind: RecordKind,
    pub(super) slot: u32,
    pub(super) name: RecordName,
    pub(super) fetch: u64,
    pub(super) record: Vec<u8>,
    pub(super) outcome: Outcome,
    pub(super) read_us: u64,
}

/// The files, by record kind.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) pages: RecordFile,
    /// For models with recurrent states.
    pub(super) states: Option<RecordFile>,
    /// Whether a failed write has been reported: the next ones will fail likewise.
    pub(super) has_reported: bool,
}

/// Wakes the engine when a record was read and when the thread ends, even by panic.
pub(super) struct EngineWaker(pub(super) Box<dyn Fn() + Send>);

impl Drop for EngineWaker {
    fn drop(&mut self) {
        self.0();
    }
}

/// Starts the thread. It ends after the last job once all senders are gone.
///
/// # Errors
/// If the thread cannot be started.
pub(super) fn spawn(
    mut files: Files,
    jobs: Receiver<Job>,
    done: SyncSender<Done>,
    waker: EngineWaker,
) -> std::io::Result<JoinHandle<()>> {
    let work = move || {
        while let Ok(job) = jobs.recv() {
            let result = perform(&mut files, job);
            let is_awaited = matches!(result, Done::Read(_));
            if done.send(result).is_err() {
                return;
            }
            if is_awaited {
                waker.0();
            }
        }
        // Before the waker: the woken engine must find the channel closed.
        drop(done);
        drop(waker);
    };
    std::thread::Builder::new().name(THREAD.to_owned()).spawn(work)
}

fn perform(files: &mut Files, job: Job) -> Done {
    match job {
        Job::Write { kind, slot, name, number, record } => {
            let file = files.of(kind);
            let written = file.map_or(Ok(()), |file| file.write(slot, &name, number, &record));
            if let Err(error) = &written {
                files.report(error);
            }
            Done::Written { kind, slot, name, is_ok: written.is_ok(), record }
        }
        Job::Read { kind, slot, name, fetch, mut record } => {
            let began = Instant::now();
            let file = files.of(kind);
            let outcome = file.map_or(Outcome::Damaged, |file| file.read(slot, &name, &mut record));
            let read_us = began.elapsed().as_micros() as u64;
            Done::Read(RecordRead { kind, slot, name, fetch, record, outcome, read_us })
        }
    }
}

impl Files {
    /// Says once why nothing is stored.
    fn report(&mut self, error: &std::io::Error) {
        if std::mem::replace(&mut self.has_reported, true) {
            return;
        }
        let what = if files::is_full(error) { "the disk is full" } else { "cannot write" };
        warn!(%error, "{what}: pages of the KV cache are dropped instead of stored");
    }

    fn of(&mut self, kind: RecordKind) -> Option<&mut RecordFile> {
        match kind {
            RecordKind::Page => Some(&mut self.pages),
            RecordKind::State => self.states.as_mut(),
        }
    }
}
