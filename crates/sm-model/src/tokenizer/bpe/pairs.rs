//! Which neighbours merge, and which first.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::known::Known;
use super::merge::{NO_RANK, Pairing, Symbol};

/// A merge of a list, which is in the order of their ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tokenizer) struct Listed {
    pub(in crate::tokenizer) left: u32,
    pub(in crate::tokenizer) right: u32,
    pub(in crate::tokenizer) made: u32,
}

/// The merges of a vocabulary.
#[derive(Debug)]
pub(super) enum Merges {
    /// Pairs of ids.
    Listed {
        ranks: HashMap<(u32, u32), u32, RandomState>,
        made: Vec<u32>, // by rank
    },
    /// All that form a token, ranked by the token's score.
    Scored {
        ranks: Vec<u32>, // by index of the token
    },
}

impl Merges {
    /// Merges in the order of a list. A pair that is listed twice has its last place, as in the crate `tokenizers`.
    pub(super) fn listed(merges: &[Listed]) -> Self {
        let ranks = (0..).zip(merges).map(|(rank, merge)| ((merge.left, merge.right), rank)).collect();
        Self::Listed { ranks, made: merges.iter().map(|merge| merge.made).collect() }
    }

    /// Merges by the scores of tokens, by index: the highest first, equal ones from the left.
    pub(super) fn scored(scores: &[f32]) -> Self {
        let mut distinct = scores.to_vec();
        distinct.sort_by(|a, b| b.total_cmp(a));
        distinct.dedup_by(|a, b| a.total_cmp(b).is_eq());
        let rank = |score: &f32| distinct.partition_point(|other| other.total_cmp(score).is_gt()) as u32;
        Self::Scored { ranks: scores.iter().map(rank).collect() }
    }

    /// The merges within a piece.
    pub(super) fn of<'a>(&'a self, piece: &'a [u8], known: &'a Known) -> MergesOf<'a> {
        MergesOf { merges: self, piece, known }
    }
}

/// The merges of a vocabulary within a piece.
pub(super) struct MergesOf<'a> {
    merges: &'a Merges,
    piece: &'a [u8],
    known: &'a Known,
}

impl Pairing for MergesOf<'_> {
    fn rank(&self, left: Symbol, right: Symbol) -> u32 {
        match self.merges {
            Merges::Listed { ranks, .. } => ranks.get(&(left.id, right.id)).copied().unwrap_or(NO_RANK),
            Merges::Scored { ranks } => {
                let found = self.known.find(&self.piece[left.start..right.end]);
                found.map_or(NO_RANK, |(idx, _)| ranks[idx])
            }
        }
    }

    fn made(&self, rank: u32) -> u32 {
        match self.merges {
            Merges::Listed { made, .. } => made[rank as usize],
            Merges::Scored { .. } => 0,
        }
    }
}
