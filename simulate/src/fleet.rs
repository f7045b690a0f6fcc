//! Replicas behind a router, against a clock of their own.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::cost::StepCost;
use crate::replica::{Progress, Replica, ReplicaError, Settings, StepWork};
use crate::report::{Report, Times};
use crate::router::{Policy, Router, Thresholds};
use crate::workload::{Load, Workload};

/// A fleet.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// Number of replicas.
    pub n_replicas: usize,
    /// Each of them.
    pub settings: Settings,
    /// How the router chooses.
    pub policy: Policy,
    /// Its thresholds.
    pub thresholds: Thresholds,
    /// The time of a step.
    pub cost: StepCost,
    /// Time of a request outside of steps: HTTP, tokenizing, the router.
    pub request_us: f64,
    /// What replicas that share a machine take from each other; none if each has its own.
    pub shared: Option<SharedMachine>,
}

/// Replicas that share a machine slow each other down once they want more cores than it has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SharedMachine {
    /// Its cores.
    pub n_cores: f64,
    /// Cores that a busy replica takes, with its share of router and clients.
    pub cores_per_replica: f64,
}

impl SharedMachine {
    fn slowdown(self, n_busy: usize) -> f64 {
        (n_busy as f64 * self.cores_per_replica / self.n_cores).max(1.0)
    }
}

/// Something that happens. Arrivals come before steps that end at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The next request of the workload arrives.
    Arrival,
    /// A request has passed the router.
    Delivery { request: usize, replica: usize },
    /// A step of a replica ends.
    StepEnd { replica: usize, step_us: u64 },
}

/// A run of a fleet.
struct Run<'a> {
    fleet: &'a Fleet,
    workload: &'a Workload<'a>,
    replicas: Vec<Replica>,
    /// Whether each is in a step.
    busy: Vec<bool>,
    n_busy: usize,
    busy_us: u64,
    router: Router,
    times: Vec<Times>,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    n_arrived: usize,
}

impl Fleet {
    /// Serves a workload, and sums up.
    ///
    /// # Errors
    /// If a setting is invalid, or a request can never run.
    pub fn serve(&self, workload: &Workload<'_>, load: Load) -> Result<Report, ReplicaError> {
        let replicas =
            (0..self.n_replicas).map(|_| Replica::new(&self.settings)).collect::<Result<_, _>>()?;
        let n_pages = self.n_replicas * self.settings.n_pages;
        let mut run = Run {
            fleet: self,
            workload,
            replicas,
            busy: vec![false; self.n_replicas],
            n_busy: 0,
            busy_us: 0,
            router: Router::new(self.policy, self.thresholds, self.n_replicas, n_pages),
            times: vec![Times::default(); workload.len()],
            events: BinaryHeap::new(),
            n_arrived: 0,
        };
        match load {
            Load::InFlight(n) => (0..(n * self.n_replicas).min(workload.len())).for_each(|_| run.arrives(0)),
            Load::PerSecond(_) => (0..workload.len()).for_each(|index| run.arrives(workload.at_us(index))),
        }
        run.events(load)?;
        Ok(run.report())
    }
}

impl Run<'_> {
    fn arrives(&mut self, at_us: u64) {
        if self.n_arrived < self.workload.len() {
            self.n_arrived += 1;
            self.events.push(Reverse((at_us, Event::Arrival)));
        }
    }

    fn events(&mut self, load: Load) -> Result<(), ReplicaError> {
        let mut next = 0;
        while let Some(Reverse((now_us, event))) = self.events.pop() {
            match event {
                Event::Arrival => {
                    self.route(next, now_us);
                    next += 1;
                }
                Event::Delivery { request, replica } => self.deliver(request, replica, now_us)?,
                Event::StepEnd { replica, step_us } => {
                    let n_ended = self.end_step(replica, step_us, now_us);
                    if matches!(load, Load::InFlight(_)) {
                        (0..n_ended).for_each(|_| self.arrives(now_us));
                    }
                    self.begin_step(replica, now_us);
                }
            }
        }
        Ok(())
    }

    fn route(&mut self, request: usize, now_us: u64) {
        let (prompt, n_output) = self.workload.request(request);
        let pages: Vec<u64> = match self.fleet.policy {
            Policy::Prefix => self.replicas[0].page_keys(&prompt).iter().map(|key| key.0 as u64).collect(),
            Policy::LeastLoaded | Policy::RoundRobin | Policy::Random => Vec::new(),
        };
        let replica = self.router.route(&pages);
        self.times[request] = Times {
            arrival_us: now_us,
            n_prompt: prompt.len() as u32,
            n_output: n_output as u32,
            ..Times::default()
        };
        let at_us = now_us + self.fleet.request_us as u64;
        self.events.push(Reverse((at_us, Event::Delivery { request, replica })));
    }

    fn deliver(&mut self, request: usize, replica: usize, now_us: u64) -> Result<(), ReplicaError> {
        let (prompt, n_output) = self.workload.request(request);
        self.replicas[replica].submit(request, prompt, n_output, now_us)?;
        if !self.busy[replica] {
            self.begin_step(replica, now_us);
        }
        Ok(())
    }

    fn begin_step(&mut self, replica: usize, now_us: u64) {
        let Some(StepWork { n_rows, context }) = self.replicas[replica].begin_step(now_us) else { return };
        self.busy[replica] = true;
        self.n_busy += 1;
        let slowdown = self.fleet.shared.map_or(1.0, |machine| machine.slowdown(self.n_busy));
        let step_us = (self.fleet.cost.step_us(n_rows, context) * slowdown).max(1.0) as u64;
        self.busy_us += step_us;
        self.events.push(Reverse((now_us + step_us, Event::StepEnd { replica, step_us })));
    }

    /// Returns the number of requests that ended.
    fn end_step(&mut self, replica: usize, step_us: u64, now_us: u64) -> usize {
        self.busy[replica] = false;
        self.n_busy -= 1;
        let (times, router) = (&mut self.times, &mut self.router);
        let mut n_ended = 0;
        self.replicas[replica].end_step(step_us, |progress| match progress {
            Progress::Token(request) => {
                let first_us = &mut times[request].first_token_us;
                if *first_us == 0 {
                    *first_us = now_us;
                }
            }
            Progress::Ended(request) => {
                times[request].end_us = now_us;
                router.ended(replica);
                n_ended += 1;
            }
        });
        n_ended
    }

    fn report(&self) -> Report {
        let mut report = Report::of(self.fleet.n_replicas, self.fleet.policy, &self.times);
        for replica in &self.replicas {
            let (reused, computed) = replica.positions();
            let (steps, sequences) = replica.steps();
            report.reused_tokens += reused;
            report.computed_tokens += computed;
            report.steps += steps;
            report.step_sequences += sequences;
        }
        report.busy_us = self.busy_us;
        report
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cost::Measured;
    use crate::scale::Scale;
    use crate::trace::Recorded;

    const SCALE: Scale = Scale { lengths: 32, speed: 1.0, context_len: 1024, vocab_size: 1000, n_keys: 1 };

    /// Conversations of four turns, each of which repeats what was said before.
    fn trace() -> Vec<Recorded> {
        let request = |index: u64| {
            let (conversation, turn) = (index / 4, index % 4);
            let blocks =
                std::iter::once(0).chain((0..4 + 2 * turn).map(|block| 1 + conversation * 100 + block));
            let blocks: Vec<u64> = blocks.collect();
            let at = Duration::from_millis(turn * 10_000 + conversation * 100);
            Recorded { at, n_input: blocks.len() * 512, n_output: 320, blocks: Some(blocks) }
        };
        let mut trace: Vec<Recorded> = (0..400).map(request).collect();
        trace.sort_by_key(|request| request.at);
        trace
    }

    fn fleet(n_replicas: usize, policy: Policy) -> Fleet {
        let test = |test: &str, tokens, sequences, tokens_per_second| Measured {
            test: test.to_owned(),
            tokens,
            depth: 0,
            sequences,
            tokens_per_second,
        };
        let cost = StepCost::new(&[test("tg", 32, 1, 1000.0), test("pp", 512, 1, 50_000.0)]).unwrap();
        let settings = Settings { parallel: 8, max_step_tokens: 512, n_pages: 2000 };
        let thresholds = Thresholds::default();
        Fleet { n_replicas, settings, policy, thresholds, cost, request_us: 500.0, shared: None }
    }

    fn serve(fleet: &Fleet, load: Load) -> Report {
        let trace = trace();
        let workload = Workload::new(&trace, SCALE, fleet.n_replicas, 400 * fleet.n_replicas, load);
        fleet.serve(&workload, load).unwrap()
    }

    #[test]
    fn every_request_is_served_and_every_token_counted() {
        for load in [Load::InFlight(8), Load::PerSecond(5.0)] {
            let report = serve(&fleet(3, Policy::Random), load);
            assert_eq!((report.n_requests, report.output_tokens), (1200, 12_000));
            assert!(report.reused_tokens + report.computed_tokens >= report.input_tokens);
        }
    }

    #[test]
    fn routing_by_prefix_keeps_the_hits_of_one_replica() {
        let load = Load::InFlight(8);
        let one = serve(&fleet(1, Policy::RoundRobin), load);
        let by_prefix = serve(&fleet(8, Policy::Prefix), load);
        let in_turn = serve(&fleet(8, Policy::RoundRobin), load);
        assert!(
            by_prefix.hit_rate() > 0.9 * one.hit_rate(),
            "{} of {}",
            by_prefix.hit_rate(),
            one.hit_rate()
        );
        assert!(in_turn.hit_rate() < 0.7 * one.hit_rate(), "{} of {}", in_turn.hit_rate(), one.hit_rate());
        assert!(by_prefix.requests_per_second() > in_turn.requests_per_second());
    }

    #[test]
    fn more_replicas_serve_more_unless_they_share_a_machine() {
        let load = Load::InFlight(8);
        let one = serve(&fleet(1, Policy::Prefix), load).requests_per_second();
        let four = serve(&fleet(4, Policy::Prefix), load).requests_per_second();
        assert!((3.0..4.5).contains(&(four / one)), "{four} and {one}");
        let machine = SharedMachine { n_cores: 2.0, cores_per_replica: 1.0 };
        let shared = Fleet { shared: Some(machine), ..fleet(4, Policy::Prefix) };
        let shared = serve(&shared, load).requests_per_second();
        assert!((1.5..2.5).contains(&(shared / one)), "{shared} and {one}");
    }
}
