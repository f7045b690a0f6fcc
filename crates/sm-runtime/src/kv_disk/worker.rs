//! The thread that reads and writes the file, one job after the other: a page that was handed over is found by every read
//! after it.

use std::sync::mpsc::{Receiver, SyncSender};
use std::thread::JoinHandle;
use std::time::Instant;

use super::file::{Outcome, PageFile};
use super::record::PageName;

/// What is to be done. The buffer `page`, `[page_bytes]`, comes back.
#[derive(Debug)]
pub(super) enum Job {
    Write { slot: u32, name: PageName, number: u64, page: Vec<u8> },
    Read { slot: u32, name: PageName, fetch: u64, page: Vec<u8> },
}

/// What was done.
#[derive(Debug)]
pub(super) enum Done {
    Written { slot: u32, name: PageName, is_ok: bool, page: Vec<u8> },
    Read(PageRead),
}

/// A page that was read, if it is intact.
#[derive(Debug)]
pub(super) struct PageRead {
    pub(super) slot: u32,
    pub(super) name: PageName,
    pub(super) fetch: u64,
    pub(super) page: Vec<u8>,
    pub(super) outcome: Outcome,
    pub(super) read_us: u64,
}

/// Tells the engine that there is something to take in, also when the thread ends.
pub(super) struct Bell(pub(super) Box<dyn Fn() + Send>);

impl Drop for Bell {
    fn drop(&mut self) {
        self.0();
    }
}

/// Starts the thread; it ends when nobody can send it jobs any more, after those that were sent.
///
/// # Errors
/// What the system says.
pub(super) fn spawn(
    mut file: PageFile,
    jobs: Receiver<Job>,
    done: SyncSender<Done>,
    bell: Bell,
) -> std::io::Result<JoinHandle<()>> {
    let work = move || {
        while let Ok(job) = jobs.recv() {
            let result = perform(&mut file, job);
            let is_awaited = matches!(result, Done::Read(_));
            if done.send(result).is_err() {
                return;
            }
            if is_awaited {
                bell.0();
            }
        }
        // After the end of the channel, which the engine is to find.
        drop((done, bell));
    };
    std::thread::Builder::new().name("sm-kv-disk".to_owned()).spawn(work)
}

fn perform(file: &mut PageFile, job: Job) -> Done {
    match job {
        Job::Write { slot, name, number, page } => {
            let is_ok = file.write(slot, &name, number, &page).is_ok();
            Done::Written { slot, name, is_ok, page }
        }
        Job::Read { slot, name, fetch, mut page } => {
            let began = Instant::now();
            let outcome = file.read(slot, &name, &mut page);
            let read_us = began.elapsed().as_micros() as u64;
            Done::Read(PageRead { slot, name, fetch, page, outcome, read_us })
        }
    }
}
