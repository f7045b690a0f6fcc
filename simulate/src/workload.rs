//! As many requests as a fleet needs, from one trace.
//!
//! A trace holds the traffic of some users. A fleet of N replicas serves N such groups at a time: each reads the trace from
//! another place on, in its own words. They share only what all requests of the trace share, a system prompt. So the work of
//! a replica does not change with the number of replicas, and what does change is the router's doing.

use std::time::Duration;

use sm_batching::TokenId;

use crate::mix;
use crate::scale::Scale;
use crate::trace::Recorded;

/// Distance between the places where two groups start, in requests: a prime, so that few start at the same place.
const STRIDE: usize = 7919;

/// When requests arrive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// As soon as an earlier one is done: so many per replica are in flight.
    InFlight(usize),
    /// At the trace's times, stretched to so many per replica and second on average.
    PerSecond(f64),
}

/// A request of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Arrival {
    at_us: u64,
    group: u32,
    /// Index in the trace.
    recorded: u32,
}

/// The requests of a run, in order of arrival. Prompts are made when they are needed.
#[derive(Debug)]
pub struct Workload<'a> {
    trace: &'a [Recorded],
    scale: Scale,
    /// Name of the block that begins every prompt of the trace.
    common: Option<u64>,
    arrivals: Vec<Arrival>,
}

impl<'a> Workload<'a> {
    /// `n_requests` requests of `n_groups` groups of users.
    ///
    /// # Panics
    /// If the trace is empty.
    pub fn new(trace: &'a [Recorded], scale: Scale, n_groups: usize, n_requests: usize, load: Load) -> Self {
        assert!(!trace.is_empty(), "a workload needs a trace with requests");
        let span = trace.last().map_or(Duration::ZERO, |last| last.at);
        let mean_gap = span.as_secs_f64() / trace.len() as f64;
        let stretch = match load {
            Load::PerSecond(rate) if mean_gap > 0.0 => 1.0 / (rate * mean_gap),
            Load::PerSecond(_) | Load::InFlight(_) => 1.0,
        };
        let arrival = |index: usize| {
            let (group, nth) = (index % n_groups, index / n_groups);
            let first = group * STRIDE % trace.len();
            let (round, recorded) = ((first + nth) / trace.len(), (first + nth) % trace.len());
            let at = trace[recorded].at + span * round as u32 - trace[first].at;
            let at_us = at.mul_f64(stretch).as_micros() as u64;
            Arrival { at_us, group: group as u32, recorded: recorded as u32 }
        };
        let mut arrivals: Vec<Arrival> = (0..n_requests).map(arrival).collect();
        arrivals.sort_by_key(|arrival| arrival.at_us);
        Self { trace, scale, common: common_block(trace), arrivals }
    }

    /// Number of requests.
    pub fn len(&self) -> usize {
        self.arrivals.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }

    /// When a request arrives, if requests arrive at times.
    pub fn at_us(&self, index: usize) -> u64 {
        self.arrivals[index].at_us
    }

    /// The prompt of a request, and the tokens to generate.
    pub fn request(&self, index: usize) -> (Vec<TokenId>, usize) {
        let Arrival { group, recorded: place, .. } = self.arrivals[index];
        let mut recorded = self.trace[place as usize].clone();
        for name in recorded.blocks.iter_mut().flatten().filter(|name| Some(**name) != self.common) {
            *name = mix(*name ^ u64::from(group) << 40);
        }
        let unique = mix(u64::from(group)) ^ u64::from(place);
        let scaled = self.scale.scaled(&recorded, unique);
        (scaled.prompt, scaled.n_output)
    }
}

/// The block that begins all prompts, if one does.
fn common_block(trace: &[Recorded]) -> Option<u64> {
    let mut firsts = trace.iter().map(|request| request.blocks.as_ref()?.first().copied());
    let first = firsts.next()??;
    firsts.all(|other| other == Some(first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALE: Scale = Scale { lengths: 32, speed: 1.0, context_len: 200, vocab_size: 1000, n_keys: 1 };

    fn trace() -> Vec<Recorded> {
        let request = |index: u64| Recorded {
            at: Duration::from_secs(index),
            n_input: 1024,
            n_output: 64,
            blocks: Some(vec![0, 1 + index / 2]),
        };
        (0..10).map(request).collect()
    }

    #[test]
    fn groups_share_the_system_prompt_and_nothing_else() {
        let trace = trace();
        let workload = Workload::new(&trace, SCALE, 2, 20, Load::InFlight(1));
        let prompts: Vec<Vec<TokenId>> = (0..20).map(|index| workload.request(index).0).collect();
        assert!(prompts.iter().all(|prompt| prompt[..16] == prompts[0][..16]));
        let distinct = |at: usize| {
            let mut pages: Vec<&[TokenId]> = prompts.iter().map(|prompt| &prompt[at..at + 16]).collect();
            pages.sort();
            pages.dedup();
            pages.len()
        };
        assert_eq!(distinct(16), 10, "five blocks of each group");
    }

    #[test]
    fn arrivals_are_sorted_and_as_frequent_as_asked() {
        let trace = trace();
        let workload = Workload::new(&trace, SCALE, 3, 3000, Load::PerSecond(5.0));
        let times: Vec<u64> = (0..workload.len()).map(|index| workload.at_us(index)).collect();
        assert!(times.is_sorted());
        let rate = 3000.0 / (times[2999] as f64 / 1e6);
        assert!((rate - 15.0).abs() < 0.5, "{rate} requests/s for 3 groups");
    }
}
