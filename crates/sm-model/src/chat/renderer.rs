//! The render thread of a template.
//!
//! The template engine recurses on nested expressions, macros and values, so a render may need more stack than the caller's
//! thread has. One thread with a large stack serves all renders of a template: a render takes a few hundred microseconds,
//! of which starting a thread each time would be a significant part. (Growing the caller's stack instead, as the crate
//! `stacker` does, needs assembly built by a C compiler.)

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, PoisonError};
use std::{io, thread};

use super::{ChatError, STACK_BYTES};

type Job = Box<dyn FnOnce() + Send>;

/// A thread with [`STACK_BYTES`] of stack, started by the first job and ended when the renderer is dropped.
#[derive(Default)]
pub(super) struct Renderer(Mutex<Option<Sender<Job>>>);

impl Renderer {
    /// Runs `job` on the thread and waits for its result. Propagates its panic to the caller.
    ///
    /// # Errors
    /// [`ChatError::NoThread`] if the thread cannot be started.
    pub(super) fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ChatError> {
        let (reply, replied) = mpsc::sync_channel(1);
        let job: Job = Box::new(move || {
            // The caller waits for it.
            let _ = reply.send(catch_unwind(AssertUnwindSafe(job)));
        });
        let gone = || ChatError::NoThread { source: io::Error::other("the thread has ended") };
        self.jobs()?.send(job).map_err(|_| gone())?;
        replied.recv().map_err(|_| gone())?.or_else(|panic| resume_unwind(panic))
    }

    fn jobs(&self) -> Result<Sender<Job>, ChatError> {
        let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(jobs) = &*jobs {
            return Ok(jobs.clone());
        }
        let (sender, received) = mpsc::channel::<Job>();
        let builder = thread::Builder::new().name("sm-chat-template".to_owned()).stack_size(STACK_BYTES);
        let serve = move || received.iter().for_each(|job| job());
        builder.spawn(serve).map_err(|source| ChatError::NoThread { source })?;
        *jobs = Some(sender.clone());
        Ok(sender)
    }
}

impl fmt::Debug for Renderer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renderer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::thread::current;

    use super::*;

    #[test]
    fn all_jobs_run_on_one_thread_even_after_a_panic() {
        let renderer = Renderer::default();
        let first = renderer.run(|| current().id()).unwrap();
        let panicking = || renderer.run(|| panic!("a job that fails"));
        assert!(catch_unwind(AssertUnwindSafe(panicking)).is_err());
        let from_others = thread::scope(|scope| {
            let run = || renderer.run(|| current().id()).unwrap();
            [scope.spawn(run), scope.spawn(run)].map(|caller| caller.join().unwrap())
        });
        assert_eq!(from_others, [first; 2]);
        assert_ne!(first, current().id());
    }
}
