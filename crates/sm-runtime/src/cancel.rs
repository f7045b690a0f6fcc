//! Cancellation from another thread.
//!
//! A token is a flag with hooks. Running work polls the flag: between two steps, between two rows of a matrix. Sleeping
//! work, such as an idle engine, registers a hook that wakes it, so cancellation never waits for a timeout.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Cancels the request, generation or load it was passed to. Clones share one state.
///
/// Running work stops at the next step boundary or within a few matrix rows. A queued request is answered immediately.
///
/// ```
/// use sm_runtime::CancelToken;
///
/// let all = CancelToken::new();
/// let one = all.child();
/// one.cancel();
/// assert!(one.is_cancelled() && !all.is_cancelled());
/// all.cancel();
/// assert!(all.child().is_cancelled());
/// ```
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<Shared>);

#[derive(Default)]
struct Shared {
    is_cancelled: AtomicBool,
    /// Cancelling the parent cancels this token.
    parent: Option<CancelToken>,
    hooks: Mutex<Hooks>,
}

type Hook = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct Hooks {
    n_registered: u64,
    /// Keyed by registration number.
    by_number: HashMap<u64, Hook>,
}

impl CancelToken {
    /// A token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// A token that is cancelled with this one and can also be cancelled on its own.
    #[must_use]
    pub fn child(&self) -> Self {
        Self(Arc::new(Shared { parent: Some(self.clone()), ..Shared::default() }))
    }

    /// Cancels all work that holds this token or a descendant. Idempotent. Takes a lock: call it from a signal-handling
    /// thread, not from a signal handler.
    pub fn cancel(&self) {
        self.0.is_cancelled.store(true, Ordering::Release);
        let hooks = std::mem::take(&mut self.0.lock().by_number);
        // Outside the lock: a hook may drop the last handle of something that then removes its own hook.
        hooks.into_values().for_each(|hook| hook());
    }

    /// Whether this token or an ancestor was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.ancestry().any(|token| token.0.is_cancelled.load(Ordering::Acquire))
    }

    /// Calls `hook` when this token or an ancestor is cancelled, immediately if it already is, until the registration
    /// is dropped. The hook may run more than once.
    pub(crate) fn on_cancel(&self, hook: impl Fn() + Send + Sync + 'static) -> CancelHook {
        let hook: Hook = Arc::new(hook);
        let register = |token: &CancelToken| (token.clone(), token.0.register(Arc::clone(&hook)));
        let registered = self.ancestry().map(register).collect();
        // Register first, then check: one of the two catches a concurrent `cancel`.
        if self.is_cancelled() {
            hook();
        }
        CancelHook { registered }
    }

    /// This token, its parent, and so on.
    fn ancestry(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |token| token.0.parent.as_ref())
    }
}

/// A registered hook; dropping it removes the hook.
#[derive(Debug)]
#[must_use = "dropping it removes the hook"]
pub(crate) struct CancelHook {
    registered: Vec<(CancelToken, u64)>,
}

impl Drop for CancelHook {
    fn drop(&mut self) {
        for (token, number) in &self.registered {
            let hook = token.0.lock().by_number.remove(number);
            drop(hook);
        }
    }
}

impl Shared {
    /// Nothing panics while holding the lock, so a poisoned one is still consistent.
    fn lock(&self) -> MutexGuard<'_, Hooks> {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, hook: Hook) -> u64 {
        let mut hooks = self.lock();
        let number = hooks.n_registered;
        hooks.n_registered += 1;
        hooks.by_number.insert(number, hook);
        number
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { is_cancelled, parent, .. } = self;
        let mut debug = f.debug_struct("Shared");
        debug.field("is_cancelled", is_cancelled).field("parent", parent).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn counting(token: &CancelToken) -> (Arc<AtomicUsize>, CancelHook) {
        let count = Arc::new(AtomicUsize::new(0));
        let counts = Arc::clone(&count);
        let hook = token.on_cancel(move || _ = counts.fetch_add(1, Ordering::SeqCst));
        (count, hook)
    }

    #[test]
    fn a_hook_runs_when_the_token_or_an_ancestor_is_cancelled() {
        let (own, parent, grandparent) = (0, 1, 2);
        for cancelled in [own, parent, grandparent] {
            let root = CancelToken::new();
            let middle = root.child();
            let leaf = middle.child();
            let (count, _hook) = counting(&leaf);
            let (sibling, _sibling_hook) = counting(&middle.child());
            [&leaf, &middle, &root][cancelled].cancel();
            assert_eq!(count.load(Ordering::SeqCst), 1);
            assert_eq!(sibling.load(Ordering::SeqCst), usize::from(cancelled != own));
        }
    }

    #[test]
    fn a_hook_on_a_cancelled_token_runs_at_once() {
        let token = CancelToken::new();
        token.cancel();
        let (count, _hook) = counting(&token.child());
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_token_keeps_no_hook_that_was_dropped() {
        let token = CancelToken::new();
        for _ in 0..100 {
            let (count, hook) = counting(&token.child());
            drop(hook);
            assert_eq!((Arc::strong_count(&count), token.0.lock().by_number.len()), (1, 0));
        }
    }

    #[test]
    fn a_hook_registered_while_the_token_is_cancelled_runs() {
        for _ in 0..200 {
            let token = CancelToken::new();
            std::thread::scope(|scope| {
                scope.spawn(|| token.cancel());
                let (count, hook) = counting(&token.child());
                while count.load(Ordering::SeqCst) == 0 {
                    std::hint::spin_loop();
                }
                drop(hook);
            });
        }
    }
}
