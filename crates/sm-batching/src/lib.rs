//! The queue and the continuous-batching scheduler: deterministic functions of integers, time passed in.
//!
//! The scheduler will hand out each step's tokens to the sequences that run, admit waiting ones by
//! [`Priority`], and preempt where pages run out. So far the crate holds the priorities.

/// How urgent a request is; later variants go first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    /// Runs when nothing else waits.
    Low,
    /// What a request has that names no priority.
    #[default]
    Normal,
    /// Before normal requests.
    High,
    /// Before everything else.
    Critical,
}
