//! Sampled tokens of a step.

use sm_tensor::TokenId;

/// Whether a sequence continues after its new tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It continues, unless it has reached its length.
    Continue,
    /// It ends because a stop rule matched. Its new tokens, possibly none, are kept.
    Stop,
}

/// The sampled tokens of a step, one result per sequence. Reused between steps to avoid allocation.
#[derive(Debug, Default)]
pub struct Results {
    tokens: Vec<TokenId>,
    /// Per result: the end of its tokens, and the verdict.
    ends: Vec<(usize, Verdict)>,
}

impl Results {
    /// No results.
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes all results.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.ends.clear();
    }

    /// Adds the result of the next sequence, in the order of [`Step::parts`](crate::Step::parts): the tokens sampled from
    /// its rows, up to and including the first that differs from its draft.
    pub fn push(&mut self, tokens: &[TokenId], verdict: Verdict) {
        self.tokens.extend_from_slice(tokens);
        self.ends.push((self.tokens.len(), verdict));
    }

    /// Number of results.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(crate) fn get(&self, index: usize) -> (&[TokenId], Verdict) {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before].0);
        let (end, verdict) = self.ends[index];
        (&self.tokens[start..end], verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_their_order() {
        let mut results = Results::new();
        assert!(results.is_empty());
        results.push(&[TokenId(1), TokenId(2)], Verdict::Continue);
        results.push(&[], Verdict::Stop);
        results.push(&[TokenId(3)], Verdict::Stop);
        assert_eq!(results.get(0), (&[TokenId(1), TokenId(2)][..], Verdict::Continue));
        assert_eq!(results.get(1), (&[][..], Verdict::Stop));
        assert_eq!(results.get(2), (&[TokenId(3)][..], Verdict::Stop));
        assert_eq!(results.len(), 3);
    }
}
