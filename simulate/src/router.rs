//! Routers: which replica gets a request.
//!
//! The router by prefix decides as smg 1.13 does with `--policy cache_aware`: it remembers which prefixes it has sent where, and
//! knows how many requests of each replica are in flight. A request goes
//!
//! * to the replica with the longest prefix of it, if that is more than the share `cache` of it;
//! * but to the least loaded, if that replica has `balance_abs` requests more than the mean and `balance_rel` times as many. The
//!   margin is at most two standard deviations of the number in flight, and at least four;
//! * to the least loaded as well if no replica knows it.
//!
//! What it remembers is bounded by what the replicas' caches hold: two generations of pages, the older of which is forgotten
//! when the younger is full.

use std::collections::HashMap;

use crate::mix;

/// The policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Policy {
    /// Where the longest prefix is cached, unless that replica is too busy
    Prefix,
    /// The one with the fewest requests
    LeastLoaded,
    /// One after another
    RoundRobin,
    /// Any
    Random,
}

/// Thresholds of the router by prefix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Requests above the mean from which on a replica is too busy for a request whose prefix it has.
    pub balance_abs: u32,
    /// Factor above the mean from which on it is, if it exceeds both.
    pub balance_rel: f64,
    /// Share of a prompt that must be known for a replica to be preferred.
    pub cache: f64,
}

impl Default for Thresholds {
    /// The defaults of smg 1.13.
    fn default() -> Self {
        Self { balance_abs: 64, balance_rel: 1.5, cache: 0.3 }
    }
}

/// Spreads requests over replicas.
#[derive(Debug)]
pub struct Router {
    policy: Policy,
    thresholds: Thresholds,
    /// Requests that each replica has and has not answered.
    loads: Vec<u32>,
    n_in_flight: u32,
    n_routed: u64,
    known: KnownPages,
}

impl Router {
    /// A router for `n_replicas` replicas whose caches hold `n_pages` pages together.
    pub fn new(policy: Policy, thresholds: Thresholds, n_replicas: usize, n_pages: usize) -> Self {
        let known = KnownPages { capacity: n_pages.max(1), ..KnownPages::default() };
        Self { policy, thresholds, loads: vec![0; n_replicas], n_in_flight: 0, n_routed: 0, known }
    }

    /// The replica for a request with these names of pages.
    pub fn route(&mut self, pages: &[u64]) -> usize {
        let n = self.loads.len();
        let replica = match self.policy {
            Policy::RoundRobin => (self.n_routed % n as u64) as usize,
            Policy::LeastLoaded => self.least_loaded(0..n),
            Policy::Random => (mix(self.n_routed) % n as u64) as usize,
            Policy::Prefix => self.by_prefix(pages),
        };
        self.n_routed += 1;
        self.loads[replica] += 1;
        self.n_in_flight += 1;
        replica
    }

    /// A request of a replica has ended.
    pub fn ended(&mut self, replica: usize) {
        self.loads[replica] -= 1;
        self.n_in_flight -= 1;
    }

    fn by_prefix(&mut self, pages: &[u64]) -> usize {
        let (n_known, holders) = self.known.longest_prefix(pages);
        let is_known = n_known as f64 > self.thresholds.cache * pages.len() as f64;
        let holder = self.least_loaded(holders.iter().map(|id| *id as usize));
        let replica = if is_known && !self.is_too_busy(holder) {
            holder
        } else {
            self.least_loaded(0..self.loads.len())
        };
        self.known.insert(pages, replica as u32);
        replica
    }

    fn is_too_busy(&self, replica: usize) -> bool {
        let mean = f64::from(self.n_in_flight) / self.loads.len() as f64;
        let margin = f64::from(self.thresholds.balance_abs).min((2.0 * mean.sqrt()).max(4.0));
        let load = f64::from(self.loads[replica]);
        load > mean + margin && load > mean * self.thresholds.balance_rel
    }

    fn least_loaded(&self, replicas: impl Iterator<Item = usize>) -> usize {
        replicas.min_by_key(|replica| self.loads[*replica]).unwrap_or_default()
    }
}

/// Which replicas were sent which pages. A page's name covers all before it.
#[derive(Debug, Default)]
struct KnownPages {
    young: HashMap<u64, Vec<u32>>,
    old: HashMap<u64, Vec<u32>>,
    /// Pages of a generation.
    capacity: usize,
}

impl KnownPages {
    /// How many of the first pages some replica holds, and the replicas that hold as many.
    fn longest_prefix(&self, pages: &[u64]) -> (usize, Vec<u32>) {
        let (mut n_known, mut holders) = (0, Vec::new());
        for page in pages {
            let Some(found) = self.young.get(page).or_else(|| self.old.get(page)) else { break };
            n_known += 1;
            found.clone_into(&mut holders);
        }
        (n_known, holders)
    }

    fn insert(&mut self, pages: &[u64], replica: u32) {
        for page in pages {
            let old = &mut self.old;
            let holders = self.young.entry(*page).or_insert_with(|| old.remove(page).unwrap_or_default());
            if !holders.contains(&replica) {
                holders.push(replica);
            }
        }
        if self.young.len() > self.capacity {
            self.old = std::mem::take(&mut self.young);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(policy: Policy, thresholds: Thresholds) -> Router {
        Router::new(policy, thresholds, 3, 1000)
    }

    #[test]
    fn prefixes_stay_together_and_the_rest_is_spread() {
        let mut router = router(Policy::Prefix, Thresholds::default());
        let first = router.route(&[1, 2, 3]);
        let other = router.route(&[1, 8, 9, 10]);
        assert_ne!(first, other, "one page of four is below the threshold");
        assert_eq!(router.route(&[1, 2, 3, 4]), first);
        assert_eq!(router.route(&[1, 8, 9, 11]), other);
    }

    #[test]
    fn a_busy_replica_gives_its_prefixes_away() {
        let thresholds = Thresholds { balance_abs: 2, ..Thresholds::default() };
        let mut router = router(Policy::Prefix, thresholds);
        let first = router.route(&[1, 2]);
        assert_eq!([router.route(&[1, 2]), router.route(&[1, 2])], [first, first]);
        assert_eq!(
            router.route(&[1, 2]),
            first,
            "two requests more than the mean are no more than the margin"
        );
        let second = router.route(&[1, 2]);
        assert_ne!(second, first, "four and a mean of one and a third");
        (0..4).for_each(|_| router.ended(first));
        assert_eq!(router.route(&[1, 2]), first, "both hold it, and the first has nothing to do");
    }

    #[test]
    fn the_others_know_nothing_of_prefixes() {
        let mut robin = router(Policy::RoundRobin, Thresholds::default());
        assert_eq!([0; 4].map(|_| robin.route(&[1])), [0, 1, 2, 0]);
        let mut by_load = router(Policy::LeastLoaded, Thresholds::default());
        assert_eq!([0; 3].map(|_| by_load.route(&[1])), [0, 1, 2]);
        by_load.ended(1);
        assert_eq!(by_load.route(&[1]), 1);
        let mut random = router(Policy::Random, Thresholds::default());
        let counts = (0..3000).map(|_| random.route(&[1])).fold([0; 3], |mut counts, replica| {
            counts[replica] += 1;
            counts
        });
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
    }

    #[test]
    fn what_was_not_used_for_long_is_forgotten() {
        let mut known = KnownPages { capacity: 10, ..KnownPages::default() };
        known.insert(&[1], 0);
        (0..30).for_each(|page| known.insert(&[100 + page, 2], 1));
        assert_eq!(known.longest_prefix(&[1]).0, 0);
        assert_eq!(known.longest_prefix(&[2]), (1, vec![1]));
    }
}
