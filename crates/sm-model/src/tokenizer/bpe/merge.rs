//! Merges neighbours in a piece of any length, best rank first and from the left among equals.
//!
//! A symbol is kept at its first byte: its id, the rank at which it merges with the next symbol, and a bit that says that a symbol
//! starts there. The best rank is found through the minima of 64 ranks, and of 64 of these, and so on; a merge changes three ranks
//! and the minima above them. That is 8 bytes per byte of text, and a step whose cost hardly depends on the length of the piece.
//!
//! The usual alternatives lost: a priority queue over a linked list takes three times the memory, because it keeps pairs that
//! are gone; the plain scan for the minimum, fastest for words, is quadratic for a line of a megabyte. Here a piece of up to 64
//! bytes has one level, which is that scan.

/// The rank of neighbours that do not merge.
pub(super) const NO_RANK: u32 = u32::MAX;

/// Ranks per minimum.
const FAN: usize = 64;

/// A part of the piece that has become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Symbol {
    pub(super) id: u32,
    pub(super) start: usize, // byte of the piece
    pub(super) end: usize,
}

/// Which neighbours merge.
pub(super) trait Pairing {
    /// The rank of merging two neighbours, [`NO_RANK`] if they do not.
    fn rank(&self, left: Symbol, right: Symbol) -> u32;

    /// The id of what a merge of this rank makes.
    fn made(&self, rank: u32) -> u32;
}

/// The symbols of a piece.
#[derive(Debug, Default)]
pub(super) struct Merger {
    ids: Vec<u32>,         // [len], where a symbol starts
    ranks: Vec<u32>,       // [len], of a symbol with the next one
    minima: Vec<Vec<u32>>, // of FAN ranks, of FAN of these, …: the last has at most FAN
    starts: Vec<u64>,      // a bit for each byte and one for the end: whether a symbol starts there
    len: usize,
}

impl Merger {
    /// Begins a piece of `len` bytes.
    pub(super) fn clear(&mut self, len: usize) {
        self.len = len;
        // A long piece should not leave its memory to all that follow.
        if self.ids.capacity() > 1 << 16 && len < 1 << 12 {
            *self = Self { len, ..Self::default() };
        }
        self.ids.clear();
        self.ids.resize(len, 0);
        self.ranks.clear();
        self.ranks.resize(len, NO_RANK);
        self.starts.clear();
        self.starts.resize(len / 64 + 1, 0);
        self.set_start(len);
    }

    /// Adds the symbol that starts at `start`; it ends where the next one starts.
    pub(super) fn push(&mut self, start: usize, id: u32) {
        self.ids[start] = id;
        self.set_start(start);
    }

    /// Merges until no neighbours are left that do.
    pub(super) fn merge(&mut self, pairing: &impl Pairing) {
        let mut left = self.next_start(0);
        while left < self.len {
            let right = self.next_start(left + 1);
            self.ranks[left] = self.rank_at(left, right, pairing);
            left = right;
        }
        self.build_minima();
        while let Some((left, rank)) = self.best() {
            let right = self.next_start(left + 1);
            self.starts[right / 64] &= !(1 << (right % 64));
            self.ids[left] = pairing.made(rank);
            self.set_rank(right, NO_RANK);
            let next = self.next_start(right + 1);
            let rank = self.rank_at(left, next, pairing);
            self.set_rank(left, rank);
            if let Some(previous) = self.previous_start(left) {
                let rank = self.rank_at(previous, left, pairing);
                self.set_rank(previous, rank);
            }
        }
    }

    /// All symbols, in order.
    pub(super) fn symbols(&self) -> impl Iterator<Item = Symbol> + '_ {
        let mut start = self.next_start(0);
        std::iter::from_fn(move || {
            (start < self.len).then(|| {
                let symbol = self.symbol(start);
                start = symbol.end;
                symbol
            })
        })
    }

    fn symbol(&self, start: usize) -> Symbol {
        Symbol { id: self.ids[start], start, end: self.next_start(start + 1) }
    }

    /// The rank of two neighbours; `right` may be the end.
    fn rank_at(&self, left: usize, right: usize, pairing: &impl Pairing) -> u32 {
        if right >= self.len {
            return NO_RANK;
        }
        let left = Symbol { id: self.ids[left], start: left, end: right };
        pairing.rank(left, self.symbol(right))
    }

    fn set_start(&mut self, at: usize) {
        self.starts[at / 64] |= 1 << (at % 64);
    }

    /// The first start at or behind `at`, at most the end.
    fn next_start(&self, at: usize) -> usize {
        let mut word = at / 64;
        let mut bits = self.starts.get(word).map_or(0, |bits| bits & (u64::MAX << (at % 64)));
        while bits == 0 {
            word += 1;
            match self.starts.get(word) {
                Some(next) => bits = *next,
                None => return self.len,
            }
        }
        word * 64 + bits.trailing_zeros() as usize
    }

    /// The last start before `at`.
    fn previous_start(&self, at: usize) -> Option<usize> {
        let mut word = at / 64;
        let mut bits = self.starts[word] & ((1 << (at % 64)) - 1);
        while bits == 0 {
            word = word.checked_sub(1)?;
            bits = self.starts[word];
        }
        Some(word * 64 + 63 - bits.leading_zeros() as usize)
    }

    fn build_minima(&mut self) {
        let mut level = 0;
        let mut n_below = self.len;
        while n_below > FAN {
            n_below = n_below.div_ceil(FAN);
            if self.minima.len() == level {
                self.minima.push(Vec::new());
            }
            let (done, rest) = self.minima.split_at_mut(level);
            let below = done.last().unwrap_or(&self.ranks);
            rest[0].clear();
            rest[0].extend(below.chunks(FAN).map(minimum));
            level += 1;
        }
        self.minima.truncate(level);
    }

    /// The leftmost symbol of the best rank.
    fn best(&self) -> Option<(usize, u32)> {
        let top = self.minima.last().unwrap_or(&self.ranks);
        let best = minimum(top);
        if best == NO_RANK {
            return None;
        }
        let mut at = position(top, best);
        for below in self.minima.iter().rev().skip(1).chain((!self.minima.is_empty()).then_some(&self.ranks))
        {
            let from = at * FAN;
            at = from + position(&below[from..below.len().min(from + FAN)], best);
        }
        Some((at, best))
    }

    fn set_rank(&mut self, at: usize, rank: u32) {
        let mut old = std::mem::replace(&mut self.ranks[at], rank);
        let mut new = rank;
        let mut at = at;
        for level in 0..self.minima.len() {
            let (done, rest) = self.minima.split_at_mut(level);
            let below = done.last().unwrap_or(&self.ranks);
            let place = at / FAN;
            let current = rest[0][place];
            let updated = if new <= current {
                new
            } else if old == current {
                minimum(&below[place * FAN..below.len().min((place + 1) * FAN)])
            } else {
                return;
            };
            if updated == current {
                return;
            }
            rest[0][place] = updated;
            (old, new, at) = (current, updated, place);
        }
    }
}

fn minimum(ranks: &[u32]) -> u32 {
    ranks.iter().copied().fold(NO_RANK, u32::min)
}

fn position(ranks: &[u32], rank: u32) -> usize {
    ranks.iter().position(|&other| other == rank).unwrap_or_default()
}
