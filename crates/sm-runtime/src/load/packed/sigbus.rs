//! What keeps a process alive when a page of a mapped file is gone.
//!
//! ```text
//! thread   reads a page ──► the kernel finds none in the file ──► SIGBUS ──► handle ──► reads the same place again: zeros
//!                                                                              │
//!                          the place is in a watched mapping? ── no ──► who handled it before us, or the default: death
//!                                                             └─ yes ─► zeros over the whole mapping, and a mark
//! ```
//!
//! A file that is cut while it is mapped, or whose disk fails, has pages that cannot be read, and a read that fails has no
//! other way to say so than this signal. Its default kills the process, with all its other models and requests. JVM and Wine
//! do what is done here. The zeros only serve to get the thread out of its computation: the mark tells that they are not
//! weights.
//!
//! The handler is installed with the first mapping and stays. It does nothing but atomic loads and stores and one `mmap`,
//! which POSIX does not list among what a handler may call, but which is a plain system call everywhere and takes no lock. A
//! signal that is not for us goes to the handler that was there, such as that of Rust's runtime for stack overflows.
#![allow(unsafe_code, reason = "signal handlers and mappings at fixed addresses")]

use std::ffi::{c_int, c_void};
use std::io;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use nix::libc::siginfo_t;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
use nix::sys::signal::{self, SaFlags, SigAction, SigHandler, SigSet, Signal};

/// The most mappings at a time. One for each model that is loaded from packed weights.
const MAX_WATCHED: usize = 256;

/// A mapping that is watched.
struct Slot {
    is_taken: AtomicBool,
    /// Its address; 0 while there is none.
    start: AtomicUsize,
    n_bytes: AtomicUsize,
    is_lost: AtomicBool,
}

static SLOTS: [Slot; MAX_WATCHED] = [const {
    Slot {
        is_taken: AtomicBool::new(false),
        start: AtomicUsize::new(0),
        n_bytes: AtomicUsize::new(0),
        is_lost: AtomicBool::new(false),
    }
}; MAX_WATCHED];

/// Who handled the signal before.
static PREVIOUS: OnceLock<SigAction> = OnceLock::new();

impl Slot {
    fn contains(&self, address: usize) -> bool {
        let start = self.start.load(Ordering::Acquire);
        start != 0 && address.wrapping_sub(start) < self.n_bytes.load(Ordering::Relaxed)
    }

    /// Marks the mapping as lost and puts zeros in its place. Returns whether that worked.
    fn replace(&self) -> bool {
        self.is_lost.store(true, Ordering::Release);
        let start = NonZero::new(self.start.load(Ordering::Acquire));
        let n_bytes = NonZero::new(self.n_bytes.load(Ordering::Relaxed));
        let (Some(start), Some(n_bytes)) = (start, n_bytes) else { return false };
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED;
        // SAFETY: the range is a mapping that its owner keeps until the slot is free, and that nobody writes to; who unmaps it
        // then unmaps these zeros.
        let zeros = unsafe { mmap_anonymous(Some(start), n_bytes, ProtFlags::PROT_READ, flags) };
        zeros.is_ok()
    }
}

/// Watches a mapping until it is dropped.
pub(super) struct Watch(&'static Slot);

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("is_lost", &self.is_lost()).finish()
    }
}

impl Watch {
    /// Watches a mapping, which has to stay until the watch is dropped.
    ///
    /// # Errors
    /// If there are too many, or the system refuses the handler.
    pub(super) fn new(mapping: &[u8]) -> io::Result<Self> {
        install()?;
        let too_many =
            || io::Error::other(format!("{MAX_WATCHED} files of packed weights are in use already"));
        let is_free = |slot: &&Slot| !slot.is_taken.swap(true, Ordering::AcqRel);
        let slot = SLOTS.iter().find(is_free).ok_or_else(too_many)?;
        slot.is_lost.store(false, Ordering::Relaxed);
        slot.n_bytes.store(mapping.len(), Ordering::Relaxed);
        slot.start.store(mapping.as_ptr().addr(), Ordering::Release);
        Ok(Self(slot))
    }

    /// Whether a page of the mapping was missing when it was read. All of it reads as zeros then.
    pub(super) fn is_lost(&self) -> bool {
        self.0.is_lost.load(Ordering::Acquire)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.start.store(0, Ordering::Release);
        self.0.is_taken.store(false, Ordering::Release);
    }
}

/// Installs the handler, once.
fn install() -> io::Result<()> {
    static IS_INSTALLED: Mutex<bool> = Mutex::new(false);
    let mut is_installed = IS_INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if *is_installed {
        return Ok(());
    }
    // On the stack that Rust's runtime gives each thread for handlers, if it has one.
    let flags = SaFlags::SA_SIGINFO | SaFlags::SA_ONSTACK;
    let ours = SigAction::new(SigHandler::SigAction(handle), flags, SigSet::empty());
    // SAFETY: `handle` calls nothing but what a handler may.
    let previous = unsafe { signal::sigaction(Signal::SIGBUS, &ours) }?;
    // A signal before this line would find nobody to pass it to, and end the process, as it would have without us.
    let _ = PREVIOUS.set(previous);
    *is_installed = true;
    Ok(())
}

extern "C" fn handle(number: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel gives a handler with `SA_SIGINFO` a valid description of the signal.
    let info_ref = unsafe { &*info };
    // SAFETY: for this signal, if the kernel is who sent it, the description has an address.
    let address = unsafe { info_ref.si_addr() };
    let is_from_kernel = info_ref.si_code > 0;
    let watched = SLOTS.iter().find(|slot| is_from_kernel && slot.contains(address.addr()));
    if watched.is_some_and(Slot::replace) {
        return;
    }
    match PREVIOUS.get().map(SigAction::handler) {
        Some(SigHandler::SigAction(previous)) => previous(number, info, context),
        Some(SigHandler::Handler(previous)) => previous(number),
        _ => die(),
    }
}

/// Ends the process by this signal.
fn die() {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action is no code of this process.
    let _ = unsafe { signal::sigaction(Signal::SIGBUS, &default) };
    // Blocked until the handler has returned.
    let _ = signal::raise(Signal::SIGBUS);
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    use super::*;
    use crate::testing::Scratch;

    const CHILD: &str = "SM_TEST_SIGBUS_CHILD";

    #[test]
    fn a_missing_page_of_any_other_mapping_still_ends_the_process() {
        if std::env::var_os(CHILD).is_none() {
            let name =
                "load::packed::sigbus::tests::a_missing_page_of_any_other_mapping_still_ends_the_process";
            let mut child = Command::new(std::env::current_exe().unwrap());
            let output = child.args(["--exact", name]).env(CHILD, "1").output().unwrap();
            assert_eq!(output.status.signal(), Some(Signal::SIGBUS as i32), "{output:?}");
            return;
        }
        let scratch = Scratch::new();
        let path = scratch.path().join("file");
        std::fs::write(&path, [1; 10_000]).unwrap();
        let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
        // SAFETY: the file is cut below to see what happens, in a process of its own.
        let maps = [0, 1].map(|_| unsafe { memmap2::Mmap::map(&file) }.unwrap());
        let watch = Watch::new(&maps[0]).unwrap();
        file.set_len(0).unwrap();
        assert_eq!(std::hint::black_box(maps[0][9_000]), 0);
        assert!(watch.is_lost());
        std::hint::black_box(maps[1][9_000]);
    }
}
