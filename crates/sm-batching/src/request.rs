//! Submitted requests and ended sequences.

use std::sync::Arc;

use sm_cache::{CacheError, KvHandle, Namespace, Turn};
use sm_kernels::plan::{RopeRange, Wanted};
use sm_tensor::TokenId;

/// Priority of a request. Later variants are served first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    /// Runs when nothing else is waiting.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Before normal requests.
    High,
    /// Before everything else. Never reached by aging.
    Critical,
}

impl Priority {
    /// The priority after `waited_us` in the queue: one level higher per `boost_after_us`, up to high. Without aging, a
    /// stream of urgent requests would starve all others.
    pub(crate) fn aged(self, waited_us: u64, boost_after_us: u64) -> Self {
        match (self, waited_us / boost_after_us.max(1)) {
            (Self::Critical, _) => Self::Critical,
            (Self::Low, 0) => Self::Low,
            (Self::Low, 1) | (Self::Normal, 0) => Self::Normal,
            (Self::Low | Self::Normal | Self::High, _) => Self::High,
        }
    }
}

/// Identifies a request. Chosen by the caller, and unique among queued and running requests. Of otherwise equal requests,
/// the one with the lower id is served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Identifies one sequence of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId {
    /// The request.
    pub request: RequestId,
    /// Index among the request's choices.
    pub choice: u32,
}

/// What to return of the prompt's positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PromptOutputs {
    /// The logits of the last position, from which the first new token is sampled.
    #[default]
    Last,
    /// The logits of every position, for log-probabilities.
    All,
    /// The hidden state of every position and no logits, for embeddings. Nothing can be generated then.
    Hidden,
    /// The hidden state of the last position; the others may come from the cache.
    LastHidden,
}

impl PromptOutputs {
    /// Whether hidden states are wanted, so that nothing is generated.
    pub fn are_hidden(self) -> bool {
        matches!(self, Self::Hidden | Self::LastHidden)
    }

    /// The first of `n_prompt` positions whose output is wanted for its own sake, not to sample from; `None` if none is.
    pub(crate) fn first_scored(self, n_prompt: usize) -> Option<usize> {
        match self {
            Self::Last => None,
            Self::All | Self::Hidden => Some(0),
            Self::LastHidden => Some(n_prompt - 1),
        }
    }
}

/// A generation request to the scheduler.
///
/// ```
/// use std::sync::Arc;
///
/// use sm_batching::{Priority, Request, RequestId, TokenId};
/// use sm_cache::Namespace;
///
/// let namespace = Arc::new(Namespace { model: "demo".into(), ..Namespace::default() });
/// let mut request = Request::new(RequestId(7), vec![TokenId(1), TokenId(2)], namespace, 16);
/// request.priority = Priority::High;
/// request.n_choices = 4; // the prompt is computed once
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Request {
    /// Identifies the request.
    pub id: RequestId,
    /// All known tokens: the prompt or, for a turn, the whole context; at least one.
    pub prompt: Vec<TokenId>,
    /// Requests share pages within a namespace.
    pub namespace: Arc<Namespace>,
    /// The session call it belongs to; returned in [`Ended`].
    pub turn: Option<Turn>,
    /// Its priority.
    pub priority: Priority,
    /// The client to charge: clients get equal shares of service.
    pub client: u64,
    /// Maximum number of tokens to generate; 0 to only get the prompt's logits.
    pub max_new_tokens: usize,
    /// Number of sequences that continue the prompt.
    pub n_choices: u32,
    /// Deadline, in µs.
    pub deadline_us: Option<u64>,
    /// What to return of the prompt's positions.
    pub prompt_outputs: PromptOutputs,
    /// What the executor returns for rows to sample from. All logits by default; greedy decoding only needs
    /// [`Wanted::ArgMax`], which is far less to transfer from a device. Scored prompt positions always return logits.
    pub wanted: Wanted,
    /// Which frequencies turn its keys and queries. Requests of one namespace must agree: they share keys.
    pub rope_range: RopeRange,
}

impl Request {
    /// A request of normal priority for one choice.
    pub fn new(
        id: RequestId,
        prompt: Vec<TokenId>,
        namespace: Arc<Namespace>,
        max_new_tokens: usize,
    ) -> Self {
        Self {
            id,
            prompt,
            namespace,
            turn: None,
            priority: Priority::Normal,
            client: 0,
            max_new_tokens,
            n_choices: 1,
            deadline_us: None,
            prompt_outputs: PromptOutputs::Last,
            wanted: Wanted::Logits,
            rope_range: RopeRange::Original,
        }
    }
}

/// A queued request whose pages may be in a slower tier.
#[derive(Clone, Copy, Debug)]
pub struct PrefetchRequest<'a> {
    /// The sequence: the first of its request, unless it has already run.
    pub id: SequenceId,
    /// The tokens whose pages it can use: all, or fewer if logits of its prompt are requested. The last one is always
    /// computed.
    pub tokens: &'a [TokenId],
    /// The namespace of the pages.
    pub namespace: &'a Namespace,
}

/// Why a sequence ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The caller's verdict was [`Verdict::Stop`](crate::Verdict::Stop).
    Stopped,
    /// It reached `max_new_tokens`.
    Length,
    /// It was cancelled.
    Cancelled,
    /// Its deadline passed.
    TimedOut,
    /// The cache cannot hold it.
    Cache(CacheError),
}

/// An ended sequence and its results.
#[non_exhaustive]
#[derive(Debug)]
pub struct Ended {
    /// The sequence; the first of its request if that ended before it was forked.
    pub id: SequenceId,
    /// Number of choices that end here: more than 1 only if the request ended before it was forked.
    pub n_choices: u32,
    /// Why it ended.
    pub reason: EndReason,
    /// The prompt and the output.
    pub token_ids: Vec<TokenId>,
    /// Number of tokens of the prompt.
    pub n_prompt: usize,
    /// For a session call, the arguments of [`KvCache::end_turn`](sm_cache::KvCache::end_turn). Other sequences have
    /// already released their pages.
    pub turn: Option<(Turn, Option<KvHandle>)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_raises_the_priority_but_never_to_critical() {
        let aged = |priority: Priority, waited_us| priority.aged(waited_us, 5_000_000);
        let low = [0, 4_999_999, 5_000_000, 10_000_000, u64::MAX].map(|us| aged(Priority::Low, us));
        assert_eq!(low, [Priority::Low, Priority::Low, Priority::Normal, Priority::High, Priority::High]);
        assert_eq!(aged(Priority::Normal, 5_000_000), Priority::High);
        assert_eq!(aged(Priority::Critical, 0), Priority::Critical);
    }
}
