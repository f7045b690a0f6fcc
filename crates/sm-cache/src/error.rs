//! Errors of the cache.

use std::fmt;

use crate::session_id::{BlankSessionId, SessionId};

/// A limit of [`KvCacheConfig`](crate::KvCacheConfig), in the order in which limits are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resource {
    /// `max_tokens_per_session`
    SessionTokens,
    /// `max_bytes_per_session`
    SessionBytes,
    /// `max_sessions`
    Sessions,
    /// `max_bytes_total`, or the size of the pool if that is less.
    TotalBytes,
}

impl Resource {
    /// The name of the option.
    pub fn name(self) -> &'static str {
        match self {
            Self::SessionTokens => "max_tokens_per_session",
            Self::SessionBytes => "max_bytes_per_session",
            Self::Sessions => "max_sessions",
            Self::TotalBytes => "max_bytes_total",
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why the cache rejects a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The request exceeds a limit. Waiting does not help, except for [`Resource::Sessions`].
    #[error("the request needs {actual} but {resource} is {limit}; shorten it or raise {resource}")]
    ResourceLimit {
        /// The limit.
        resource: Resource,
        /// Its value.
        limit: u64,
        /// What the request needs, in the same unit.
        actual: u64,
    },
    /// Too many pages are leased. Nothing was changed.
    #[error("{needed} more KV pages are needed but {missing} of them are in use; wait or preempt a sequence")]
    OutOfPages {
        /// Pages asked for.
        needed: usize,
        /// Pages that must be released first.
        missing: usize,
    },
    /// Too many state slots are leased. Nothing was changed.
    #[error(
        "{needed} more state slots are needed but {missing} of them are in use; wait or preempt a sequence"
    )]
    OutOfStates {
        /// Slots asked for.
        needed: usize,
        /// Slots that must be released first.
        missing: usize,
    },
    /// Another call uses the session.
    #[error("session {session} is in use; wait for its call to end")]
    SessionBusy {
        /// The session.
        session: SessionId,
    },
    /// The session was started with another model, KV dtype, adapter or salt.
    #[error("session {session} belongs to another {field}; use another session id")]
    SessionMismatch {
        /// The session.
        session: SessionId,
        /// The field of [`Namespace`](crate::Namespace) that differs.
        field: &'static str,
    },
    /// There is no such session.
    #[error("there is no session {session}; it was never started, or was evicted or dropped")]
    UnknownSession {
        /// The id.
        session: SessionId,
    },
    /// The session id is blank.
    #[error(transparent)]
    BlankSessionId(#[from] BlankSessionId),
    /// A value of the configuration or pool is invalid.
    #[error("invalid {field} = {value}: {reason}")]
    InvalidConfig {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What it must be.
        reason: &'static str,
    },
}

impl CacheError {
    /// Whether the same call can succeed after preempting another sequence.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::OutOfPages { .. } | Self::OutOfStates { .. })
    }

    /// Whether the same call can succeed after other requests have ended.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::ResourceLimit { resource, .. } => *resource == Resource::Sessions,
            Self::OutOfPages { .. } | Self::OutOfStates { .. } | Self::SessionBusy { .. } => true,
            Self::SessionMismatch { .. }
            | Self::UnknownSession { .. }
            | Self::BlankSessionId(_)
            | Self::InvalidConfig { .. } => false,
        }
    }
}
