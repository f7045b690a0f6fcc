//! A request as it is submitted, and its sequences as they come back.

use std::sync::Arc;

use sm_cache::{CacheError, KvHandle, Namespace, Turn};
use sm_kernels::plan::{RopeRange, Wanted};
use sm_tensor::TokenId;

/// How urgent a request is. Later variants are served first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    /// Runs when nothing else is waiting.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Before normal requests.
    High,
    /// Before everything else. Only requests submitted as critical are.
    Critical,
}

impl Priority {
    /// The priority after `waited_us` in the queue: one level higher per `boost_after_us`, up to high. Without aging, a
    /// stream of urgent requests would starve everybody else.
    pub(crate) fn aged(self, waited_us: u64, boost_after_us: u64) -> Self {
        match (self, waited_us / boost_after_us.max(1)) {
            (Self::Critical, _) => Self::Critical,
            (Self::Low, 0) => Self::Low,
            (Self::Low, 1) | (Self::Normal, 0) => Self::Normal,
            (Self::Low | Self::Normal | Self::High, _) => Self::High,
        }
    }
}

/// Identifies a request. The caller chooses it; no two requests that are waiting or running may share one. Of requests that
/// are otherwise equal, the one with the lower id is served first.
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

/// Which logits of the prompt are wanted, for its log-probabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PromptLogits {
    /// Only the last position's, from which the first new token is sampled.
    #[default]
    Last,
    /// Every position's.
    All,
}

/// What to generate, for whom, and how urgently.
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
    /// The id by which the scheduler refers to the request.
    pub id: RequestId,
    /// All tokens known: the prompt or, for a turn, the whole context; at least one.
    pub prompt: Vec<TokenId>,
    /// Requests share pages within a namespace.
    pub namespace: Arc<Namespace>,
    /// The call on a session that the request belongs to; returned in [`Ended`].
    pub turn: Option<Turn>,
    /// How urgent it is.
    pub priority: Priority,
    /// Whom the request is charged to: clients get equal shares of the service.
    pub client: u64,
    /// Maximum number of tokens to generate; 0 only to get the prompt's logits.
    pub max_new_tokens: usize,
    /// Number of sequences that continue the prompt.
    pub n_choices: u32,
    /// When it must have ended, in µs.
    pub deadline_us: Option<u64>,
    /// Which logits of the prompt are wanted.
    pub prompt_logits: PromptLogits,
    /// What the executor returns for the rows to sample from. The default is all logits; [`Wanted::ArgMax`] is all that greedy
    /// decoding needs, and much less to send from a device. Prompt positions that are scored always return logits.
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
            prompt_logits: PromptLogits::Last,
            wanted: Wanted::Logits,
            rope_range: RopeRange::Original,
        }
    }
}

/// A waiting request whose pages a slower tier may have.
#[derive(Clone, Copy, Debug)]
pub struct PrefetchRequest<'a> {
    /// The sequence: the first of its request, unless it ran already.
    pub id: SequenceId,
    /// The tokens whose pages it can use: all that it has, or fewer if logits of its prompt are wanted. The last one is
    /// computed in any case.
    pub tokens: &'a [TokenId],
    /// The namespace of the pages.
    pub namespace: &'a Namespace,
}

/// Why a sequence ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The caller's verdict was to stop.
    Stopped,
    /// It has `max_new_tokens`.
    Length,
    /// It was cancelled.
    Cancelled,
    /// Its deadline passed.
    TimedOut,
    /// The cache cannot hold it.
    Cache(CacheError),
}

/// A sequence that ended, and what it leaves.
#[non_exhaustive]
#[derive(Debug)]
pub struct Ended {
    /// The sequence; the first of its request if that ended before it was forked.
    pub id: SequenceId,
    /// Number of choices that end here: more than 1 only if the request ended before it was forked.
    pub n_choices: u32,
    /// Why it ended.
    pub reason: EndReason,
    /// The prompt and what was generated.
    pub token_ids: Vec<TokenId>,
    /// Number of tokens of the prompt.
    pub n_prompt: usize,
    /// For a call on a session, what [`KvCache::end_turn`](sm_cache::KvCache::end_turn) needs. Other sequences have returned
    /// their pages already.
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
