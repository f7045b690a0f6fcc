//! Models of the barrier, the team and the claims of sm-kernels: its files themselves, on loom's atomics, in every order of
//! their steps that the memory model allows, up to some preemptions. `cargo xtask loom` runs them.
//!
//! Data that a step hands over is read and written with relaxed atomics here, so loom shows a stale value wherever the
//! synchronisation does not order the two.
//!
//! <https://docs.rs/loom>; Norris & Demsky 2013, "CDSChecker".

#![cfg(test)]

mod cpu;

use std::any::Any;
use std::panic::resume_unwind;
use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use cpu::barrier::{Barrier, Poisoned};
use cpu::claims::Claims;
use cpu::signal::Signal;
use cpu::team::ForkJoin;

/// Runs a model with at most `preemptions` per execution. More found nothing new and take minutes.
#[allow(clippy::print_stderr, reason = "how much was tried belongs to the result")]
fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    let n_executions = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&n_executions);
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let n_executions = n_executions.load(Ordering::Relaxed);
    assert!(n_executions > 1, "a model of one execution has no threads");
    eprintln!("{} executions: {}", n_executions, std::thread::current().name().unwrap_or_default());
}

fn counters<const N: usize>() -> Arc<[AtomicUsize; N]> {
    Arc::new(std::array::from_fn(|_| AtomicUsize::new(0)))
}

fn read(counter: &AtomicUsize) -> usize {
    counter.load(Ordering::Relaxed)
}

fn count(counter: &AtomicUsize) {
    counter.store(read(counter) + 1, Ordering::Relaxed);
}

#[test]
fn no_change_of_a_signal_is_slept_through() {
    check(3, || {
        let signal = Arc::new(Signal::default());
        let data = counters::<1>();
        let waiting = {
            let (signal, data) = (Arc::clone(&signal), Arc::clone(&data));
            thread::spawn(move || {
                signal.wait_until(cpu::barrier::PATIENCE, |value| value == 2);
                assert_eq!(read(&data[0]), 1);
            })
        };
        signal.add(1);
        count(&data[0]);
        signal.add(1);
        waiting.join().unwrap();
    });
}

#[test]
fn a_barrier_orders_what_is_before_and_after_it_for_all() {
    check(3, || {
        let barrier = Arc::new(Barrier::default());
        let data = counters::<2>();
        let work = move |index: usize| {
            for step in 1..3 {
                data[index].store(step, Ordering::Relaxed);
                barrier.wait(2).unwrap();
                assert_eq!(read(&data[1 - index]), step);
                barrier.wait(2).unwrap();
            }
        };
        let other = {
            let work = work.clone();
            thread::spawn(move || work(1))
        };
        work(0);
        other.join().unwrap();
    });
}

#[test]
fn three_workers_pass_a_barrier_together() {
    check(2, || {
        let barrier = Arc::new(Barrier::default());
        let data = counters::<3>();
        let work = move |index: usize| {
            count(&data[index]);
            barrier.wait(3).unwrap();
            assert!(data.iter().all(|counter| read(counter) == 1));
        };
        let others = [1, 2].map(|index| {
            let work = work.clone();
            thread::spawn(move || work(index))
        });
        work(0);
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

#[test]
fn poison_releases_who_waits_and_spares_a_barrier_that_all_have_reached() {
    check(3, || {
        let barrier = Arc::new(Barrier::default());
        let other = {
            let barrier = Arc::clone(&barrier);
            thread::spawn(move || (barrier.wait(2), barrier.wait(2)))
        };
        barrier.wait(2).unwrap();
        barrier.poison();
        let (first, second) = other.join().unwrap();
        assert_eq!((first.is_ok(), second), (true, Err(Poisoned)));
    });
}

/// Runs `calls` on a team of two.
fn with_team(calls: impl FnOnce(&ForkJoin)) {
    let team = Arc::new(ForkJoin::new(2));
    let resident = Arc::clone(&team);
    let thread = thread::spawn(move || resident.serve(1));
    calls(&team);
    team.close();
    thread.join().unwrap();
}

#[test]
fn a_call_runs_on_all_workers_and_ends_after_all_have_left_it() {
    check(2, || {
        with_team(|team| {
            for call in 1..3 {
                let counts: [AtomicUsize; 2] = std::array::from_fn(|_| AtomicUsize::new(call));
                team.run(2, &|worker| {
                    count(&counts[worker.index()]);
                    Ok(())
                })
                .unwrap();
                assert!(counts.iter().all(|counter| read(counter) == call + 1));
            }
        });
    });
}

#[test]
fn a_call_of_one_worker_wakes_nobody() {
    check(2, || {
        with_team(|team| {
            for n_workers in [1, 2] {
                let counter = AtomicUsize::new(0);
                team.run(n_workers, &|_| {
                    counter.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                })
                .unwrap();
                assert_eq!(read(&counter), n_workers);
            }
        });
    });
}

/// A payload that throws another one when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        resume_unwind(Box::new("dropped"));
    }
}

#[test]
fn a_panic_ends_a_call_after_all_have_left_it_whatever_was_thrown() {
    for culprit in [0, 1] {
        let payloads: [fn() -> Box<dyn Any + Send>; 2] = [|| Box::new("thrown"), || Box::new(Bomb)];
        for payload in payloads {
            check(2, move || {
                with_team(|team| {
                    let n_left = AtomicUsize::new(0);
                    let failed = team.run(2, &|worker| {
                        if worker.index() == culprit {
                            resume_unwind(payload());
                        }
                        count(&n_left);
                        worker.barrier()
                    });
                    assert!(failed.is_err());
                    assert_eq!(read(&n_left), 1, "the other worker was waited for");
                    team.run(2, &|worker| worker.barrier()).unwrap();
                });
            });
        }
    }
}

#[test]
fn every_part_of_every_phase_is_claimed_by_one_worker() {
    check(2, || {
        let mut claims = Claims::new(2);
        claims.reset();
        // Which worker had a part, plus one; the phases after use the same counters of claims in turn.
        let owners: Arc<[[AtomicUsize; 4]; 3]> =
            Arc::new(std::array::from_fn(|_| std::array::from_fn(|_| AtomicUsize::new(0))));
        with_team(|team| {
            team.run(2, &|worker| {
                for (phase, owners) in owners.iter().enumerate() {
                    for part in claims.of_phase(phase, worker, 2) {
                        assert_eq!(part.count, 4);
                        assert_eq!(owners[part.index].swap(worker.index() + 1, Ordering::Relaxed), 0);
                    }
                    worker.barrier()?;
                    assert!(owners.iter().all(|owner| read(owner) > 0));
                }
                Ok(())
            })
            .unwrap();
        });
    });
}
