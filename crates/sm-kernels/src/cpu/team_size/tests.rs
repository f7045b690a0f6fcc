//! Sizes on imagined machines: quiet, busy, and changing.

use super::*;

/// Steps of `n_rows` on a machine where each takes as long as `step` says for a number of workers.
struct Machine {
    sizes: TeamSize,
    now: Duration,
}

impl Machine {
    fn new(n_workers: usize) -> Self {
        Self { sizes: TeamSize::new(n_workers), now: Duration::ZERO }
    }

    /// Runs for `time`. Returns how much longer it took than always taking the best of the sizes.
    fn run(&mut self, n_rows: usize, time: Duration, step: impl Fn(usize) -> (f64, f64)) -> f64 {
        let best = (1..=self.sizes.sizes[0]).map(|n_workers| step(n_workers).0).fold(f64::INFINITY, f64::min);
        let end = self.now + time;
        let (mut taken, mut n_steps) = (0.0, 0.0);
        while self.now < end {
            let n_workers = self.sizes.choose(n_rows);
            let (total, waited) = step(n_workers);
            self.now += Duration::from_secs_f64(total);
            let time = StepTime {
                total: Duration::from_secs_f64(total),
                waited: Duration::from_secs_f64(waited * total),
            };
            self.sizes.record(n_rows, time);
            taken += total;
            n_steps += 1.0;
        }
        taken / (n_steps * best)
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// A step that takes `alone` seconds on one worker, and `barriers` on several.
fn quiet(alone: f64, barriers: f64) -> impl Fn(usize) -> (f64, f64) {
    move |n_workers| match n_workers {
        1 => (alone, 0.0),
        n => (alone / n as f64 + barriers, 0.05),
    }
}

#[test]
fn large_steps_on_a_quiet_machine_always_have_all_workers() {
    for n_workers in [2, 8] {
        let mut machine = Machine::new(n_workers);
        let lost = machine.run(1, 10 * SECOND, quiet(0.02, 20e-6));
        assert!(lost < 1.001, "{n_workers} workers: {lost}");
    }
}

#[test]
fn small_steps_have_one_worker_after_a_trial() {
    for n_workers in [2, 4] {
        let mut machine = Machine::new(n_workers);
        machine.run(1, SECOND, quiet(100e-6, 150e-6));
        let lost = machine.run(1, 10 * SECOND, quiet(100e-6, 150e-6));
        assert!(lost < 1.06, "{n_workers} workers: {lost}");
    }
}

#[test]
fn classes_of_steps_are_apart() {
    let mut machine = Machine::new(2);
    machine.run(1, SECOND, quiet(100e-6, 150e-6));
    let lost = machine.run(512, 10 * SECOND, quiet(0.05, 150e-6));
    assert!(lost < 1.001, "{lost}");
}

/// Another process has one of the cores: the worker on it is late in every step.
fn busy(alone: f64) -> impl Fn(usize) -> (f64, f64) {
    move |n_workers| match n_workers {
        1 => (alone, 0.0),
        n => (alone * (1.5 + 0.1 * n as f64), 0.6),
    }
}

#[test]
fn a_busy_core_is_given_up_and_taken_again() {
    for (alone, n_workers) in [(130e-6, 2), (5e-3, 2), (60e-3, 2), (5e-3, 4)] {
        let mut machine = Machine::new(n_workers);
        machine.run(1, SECOND, quiet(alone, 5e-6));
        machine.run(1, 2 * SECOND, busy(alone));
        let lost = machine.run(1, 20 * SECOND, busy(alone));
        assert!(lost < 1.06, "busy, {alone}, {n_workers} workers: {lost}");
        machine.run(1, 8 * SECOND, quiet(alone, 5e-6));
        let lost = machine.run(1, 10 * SECOND, quiet(alone, 5e-6));
        assert!(lost < 1.1, "quiet again, {alone}, {n_workers} workers: {lost}");
    }
}

#[test]
fn a_lost_core_is_noticed_within_a_few_steps() {
    let mut machine = Machine::new(2);
    let sizes = std::cell::RefCell::new(Vec::new());
    // 20 prompts of a small model.
    machine.run(128, Duration::from_millis(100), |n_workers| {
        sizes.borrow_mut().push(n_workers);
        busy(4e-3)(n_workers)
    });
    // `run` asks for the times of two workers and one before it begins.
    assert_eq!(sizes.borrow()[2..6], [2, 2, 2, 1]);
    assert!(sizes.borrow()[6..].iter().all(|size| *size == 1), "{sizes:?}");
}

#[test]
fn what_one_class_has_found_of_a_lost_core_others_need_not_find_again() {
    let mut machine = Machine::new(2);
    // A prompt, its answer, and so on: the answers find out, and the prompts begin where they are.
    machine.run(128, Duration::from_millis(5), busy(4e-3));
    machine.run(1, Duration::from_millis(100), busy(130e-6));
    assert_eq!(
        [128, 512].map(|n_rows| machine.sizes.choose(n_rows)),
        [1, 2],
        "a class that has run no step keeps its size"
    );
    let mut lost = 0.0;
    for _ in 0..32 {
        lost += machine.run(128, Duration::from_millis(4), busy(4e-3)) / 32.0;
        machine.run(1, Duration::from_millis(33), busy(130e-6));
    }
    assert!(lost < 1.05, "{lost}");
    // The core is back.
    for _ in 0..200 {
        machine.run(128, Duration::from_millis(4), quiet(4e-3, 5e-6));
        machine.run(1, Duration::from_millis(33), quiet(130e-6, 5e-6));
    }
    let lost = machine.run(128, SECOND, quiet(4e-3, 5e-6));
    assert!(lost < 1.01, "quiet again: {lost}");
}

#[test]
fn short_steps_with_one_worker_are_no_news_to_long_ones() {
    let mut machine = Machine::new(2);
    machine.run(1, SECOND, quiet(100e-6, 150e-6));
    assert_eq!(machine.sizes.choose(1), 1);
    assert_eq!(machine.sizes.choose(128), 2);
}

#[test]
fn a_size_chosen_in_a_bad_moment_is_soon_left_again() {
    for n_workers in [2, 4] {
        let mut machine = Machine::new(n_workers);
        machine.run(1, SECOND / 16, busy(2e-3));
        assert_ne!(machine.sizes.classes[0].current, 0, "{n_workers} workers");
        let lost = machine.run(1, SECOND, quiet(2e-3, 5e-6));
        assert!(lost < 1.6, "{n_workers} workers: {lost}");
        assert_eq!(machine.sizes.classes[0].current, 0, "{n_workers} workers");
    }
}

#[test]
fn a_very_slow_size_is_given_up_after_a_few_steps() {
    // What it is like when the other worker gets its core for one time slice in ten.
    let stalled = |n_workers: usize| if n_workers == 1 { (130e-6, 0.0) } else { (8e-3, 0.9) };
    let mut machine = Machine::new(2);
    machine.run(1, SECOND, stalled);
    let lost = machine.run(1, 20 * SECOND, stalled);
    assert!(lost < 1.06, "{lost}");
}

#[test]
fn sizes_halve_down_to_one() {
    let sizes = |n_workers| TeamSize::new(n_workers).sizes;
    assert_eq!(sizes(1), [1]);
    assert_eq!(sizes(2), [2, 1]);
    assert_eq!(sizes(3), [3, 2, 1]);
    assert_eq!(sizes(12), [12, 11, 6, 3, 1]);
    let mut fixed = TeamSize::fixed(7);
    assert_eq!((fixed.choose(1), fixed.is_fixed()), (7, true));
}

#[test]
fn the_first_size_is_the_estimated_one() {
    let mut sizes = TeamSize::new(8);
    sizes.begin_with(|n_rows| n_rows.min(8));
    let first = [1, 2, 3, 6, 9, 512].map(|n_rows| sizes.choose(n_rows));
    assert_eq!(first, [1, 2, 2, 4, 8, 8]);
}

#[test]
fn a_lone_worker_that_shares_its_core_starts_no_trials() {
    let now = std::cell::Cell::new(0.0);
    let mut machine = Machine::new(2);
    let step = |n_workers: usize| {
        // Alone on its core, and for as long beside another process.
        let slower = if ((now.get() / 0.1) as u64).is_multiple_of(2) { 1.0 } else { 2.0 };
        let (total, waited) = if n_workers == 1 { (130e-6 * slower, 0.0) } else { (6e-3, 0.9) };
        now.set(now.get() + total);
        (total, waited)
    };
    machine.run(1, SECOND, step);
    let before = machine.sizes.classes[0].n_trials;
    machine.run(1, 10 * SECOND, step);
    let n_trials = machine.sizes.classes[0].n_trials - before;
    assert!(n_trials < 20, "{n_trials} trials in 10 seconds");
}

#[test]
fn steps_that_are_interrupted_now_and_then_start_no_trials() {
    let random = std::cell::Cell::new(1_u64);
    let is_interrupted = || {
        random.set(random.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        random.get() >> 32 < (1 << 32) / 40
    };
    let mut machine = Machine::new(2);
    let step = |n_workers: usize| {
        let stall = if is_interrupted() { 4e-3 } else { 0.0 };
        if n_workers == 1 { (240e-6 + stall, 0.0) } else { (1.8e-3 + stall, 0.8) }
    };
    machine.run(1, SECOND, step);
    let before = machine.sizes.classes[0].n_trials;
    machine.run(1, 20 * SECOND, step);
    let n_trials = machine.sizes.classes[0].n_trials - before;
    assert_eq!(machine.sizes.classes[0].current, 1);
    assert!(n_trials < 40, "{n_trials} trials in 20 seconds");
}
