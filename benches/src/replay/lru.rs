//! Upper bounds for prefix cache hits: an unbounded cache and an LRU cache, serving one request at a time.

use std::collections::{BTreeMap, HashMap, HashSet};

use sm_tensor::TokenId;

use super::mix;

/// A request as seen by the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Hashes of the full pages of prompt and output; a hash covers the page and all before it.
    pub pages: Vec<u64>,
    /// Maximum leading pages a request can hit: not the whole prompt, since its last token must be computed.
    pub n_findable: usize,
}

impl Access {
    /// The pages of `page_len` positions of a request. Outputs are all distinct, and their last token is never computed.
    pub fn new(index: usize, prompt: &[TokenId], n_output: usize, page_len: usize) -> Self {
        let mut name = 0;
        let mut pages: Vec<u64> = prompt
            .chunks_exact(page_len)
            .map(|tokens| {
                name = tokens.iter().fold(mix(name), |name, token| mix(name ^ u64::from(token.0)));
                name
            })
            .collect();
        let n_computed = prompt.len() + n_output.saturating_sub(1);
        pages.extend(
            (pages.len()..n_computed / page_len).map(|page| mix(mix(name ^ index as u64) ^ page as u64)),
        );
        Self { pages, n_findable: prompt.len().saturating_sub(1) / page_len }
    }
}

/// Pages hit in an unbounded cache.
pub fn found_without_limit(accesses: &[Access]) -> usize {
    let mut known: HashSet<u64> = HashSet::new();
    let mut n_found = 0;
    for access in accesses {
        n_found += access.pages[..access.n_findable].iter().take_while(|page| known.contains(*page)).count();
        known.extend(&access.pages);
    }
    n_found
}

/// Pages hit in an LRU cache of `capacity` pages that evicts the end of a request first.
pub fn found_by_lru(accesses: &[Access], capacity: usize) -> usize {
    let mut used_at: HashMap<u64, u64> = HashMap::new();
    let mut by_use = BTreeMap::new();
    let mut n_found = 0;
    let mut clock = 0_u64;
    for access in accesses {
        let findable = &access.pages[..access.n_findable];
        n_found += findable.iter().take_while(|page| used_at.contains_key(*page)).count();
        // The first page counts as the most recently used.
        for page in access.pages.iter().rev() {
            clock += 1;
            if let Some(before) = used_at.insert(*page, clock) {
                by_use.remove(&before);
            }
            by_use.insert(clock, *page);
        }
        while used_at.len() > capacity
            && let Some((_, oldest)) = by_use.pop_first()
        {
            used_at.remove(&oldest);
        }
    }
    n_found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(pages: &[u64]) -> Access {
        Access { pages: pages.to_vec(), n_findable: pages.len() }
    }

    #[test]
    fn without_a_limit_every_prefix_is_found_again() {
        let accesses = [access(&[1, 2, 3]), access(&[1, 2, 4]), access(&[9, 2]), access(&[1, 2, 3])];
        assert_eq!(found_without_limit(&accesses), 2 + 3);
        assert_eq!(found_by_lru(&accesses, 100), 2 + 3);
    }

    #[test]
    fn the_least_recently_used_goes_and_of_a_request_its_end() {
        let accesses = [access(&[1, 2, 3]), access(&[7]), access(&[1, 2, 3])];
        // 7 takes the place of 3, then the first two are found.
        assert_eq!(found_by_lru(&accesses, 3), 2);
        let accesses = [access(&[1]), access(&[2]), access(&[1]), access(&[3]), access(&[1]), access(&[2])];
        // 3 takes the place of 2, not of 1.
        assert_eq!(found_by_lru(&accesses, 2), 2);
        assert_eq!(found_by_lru(&accesses, 0), 0);
    }

    #[test]
    fn pages_are_named_by_all_tokens_up_to_their_end() {
        let prompt = |tokens: &[u32]| tokens.iter().copied().map(TokenId).collect::<Vec<_>>();
        let of = |index, tokens: &[u32], n_output| Access::new(index, &prompt(tokens), n_output, 2);
        let a = of(0, &[1, 2, 3, 4], 4);
        let b = of(1, &[1, 2, 3, 4, 5], 1);
        assert_eq!((a.pages.len(), a.n_findable), (3, 1), "7 positions are computed, and 4 must be");
        assert_eq!((b.pages.len(), b.n_findable), (2, 2));
        assert_eq!(a.pages[..2], b.pages[..]);
        assert_ne!(of(0, &[1, 2, 3, 4], 1).pages[1], of(0, &[2, 1, 3, 4], 1).pages[1]);
        assert_ne!(a.pages[2], of(1, &[1, 2, 3, 4], 4).pages[2], "outputs differ");
    }
}
