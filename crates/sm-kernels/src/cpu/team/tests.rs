//! Teams: order, panics, shares, claims, and the sharing of threads.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::cpu::claims::Claims;
use crate::cpu::signal::Signal;

#[test]
fn barrier_orders_phases() {
    let cells: Vec<AtomicUsize> = (0..3).map(|_| AtomicUsize::new(0)).collect();
    let mut team = Team::new(3).unwrap();
    for _ in 0..20 {
        team.run(|worker| {
            for step in 1..50 {
                cells[worker.index()].store(step, Ordering::Relaxed);
                worker.barrier()?;
                assert!(cells.iter().all(|cell| cell.load(Ordering::Relaxed) == step));
                worker.barrier()?;
            }
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn a_panic_releases_the_others_and_leaves_the_team_usable() {
    let mut team = Team::new(3).unwrap();
    for culprit in 0..3 {
        let result = team.run(|worker| {
            worker.barrier()?;
            assert!(worker.index() != culprit, "worker {culprit} fails");
            worker.barrier()
        });
        assert_eq!(result, Err(WorkerPanic { message: format!("worker {culprit} fails") }));
        let n_ran = AtomicUsize::new(0);
        team.run(|worker| {
            n_ran.fetch_add(1, Ordering::Relaxed);
            worker.barrier()
        })
        .unwrap();
        assert_eq!(n_ran.into_inner(), 3);
    }
}

#[test]
fn shares_are_disjoint_and_cover_everything() {
    for n in 0..70 {
        for granularity in [1, 8, 32] {
            for count in 1..6 {
                let mut next = 0;
                for index in 0..count {
                    let share = share_of(index, count, n, granularity);
                    assert_eq!(share.start, next);
                    assert!(share.end == n || share.end.is_multiple_of(granularity));
                    next = share.end;
                }
                assert_eq!(next, n);
            }
        }
    }
}

#[test]
fn teams_that_share_threads_take_turns() {
    let threads = Arc::new(Threads::start(5).unwrap());
    let n_inside = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut team = Team(Arc::clone(&threads));
                for _ in 0..20 {
                    let n_inside = &n_inside;
                    team.run(|worker| {
                        n_inside.fetch_add(1, Ordering::Relaxed);
                        worker.barrier()?;
                        assert_eq!(n_inside.load(Ordering::Relaxed), 5, "no other team");
                        worker.barrier()?;
                        n_inside.fetch_sub(1, Ordering::Relaxed);
                        Ok(())
                    })
                    .unwrap();
                }
            });
        }
    });
}

#[test]
fn threads_are_shared_only_if_cores_are_short() {
    let large = n_processors().max(2);
    let teams = [large, large, large + 1, 1, 1].map(|n_workers| Team::new(n_workers).unwrap());
    assert!(Arc::ptr_eq(&teams[0].0, &teams[1].0), "{large} and {large} workers");
    assert!(!Arc::ptr_eq(&teams[0].0, &teams[2].0), "another size");
    assert!(!Arc::ptr_eq(&teams[3].0, &teams[4].0), "a team of one has no threads to share");
}

#[test]
fn sleeping_threads_wake_for_the_next_call() {
    let mut team = Team::new(2).unwrap();
    for _ in 0..3 {
        while team.0.fork_join.n_sleeping() == 0 {
            std::thread::yield_now();
        }
        team.run(|worker| worker.barrier()).unwrap();
    }
}

#[test]
fn a_call_has_the_workers_it_asks_for() {
    let mut team = Team::new(4).unwrap();
    for n_workers in [4, 1, 2, 3, 2, 4] {
        let n_ran = AtomicUsize::new(0);
        for _ in 0..20 {
            team.run_on(n_workers, |worker| {
                assert_eq!(worker.count(), n_workers);
                n_ran.fetch_add(1 << (8 * worker.index()), Ordering::Relaxed);
                worker.barrier()?;
                worker.barrier()
            })
            .unwrap();
        }
        let each = (0..n_workers).map(|index| 20 << (8 * index)).sum::<usize>();
        assert_eq!(n_ran.into_inner(), each, "{n_workers} workers");
    }
}

/// A payload of a panic that panics when it is dropped, which safe code may throw.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "the payload panics when it is dropped");
    }
}

#[test]
fn a_call_ends_after_all_have_left_it_even_if_a_payload_panics_when_dropped() {
    let mut team = Team::new(2).unwrap();
    for culprit in [0, 1, 0] {
        let is_thrown = AtomicBool::new(false);
        let n_left = AtomicUsize::new(0);
        let result = team.run(|worker| {
            if worker.index() == culprit {
                is_thrown.store(true, Ordering::Release);
                std::panic::panic_any(Bomb);
            }
            while !is_thrown.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            // Long enough for a caller that does not wait to be gone.
            (0..1000).for_each(|_| std::thread::yield_now());
            n_left.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
        assert_eq!(result, Err(WorkerPanic { message: "no message".to_owned() }));
        assert_eq!(n_left.into_inner(), 1, "the other worker was waited for");
    }
    team.run(|worker| worker.barrier()).unwrap();
}

#[test]
fn sleepers_wake_when_the_number_changes() {
    let signal = Signal::default();
    for patience in [Duration::ZERO, Duration::from_micros(5), Duration::from_secs(60)] {
        let next = signal.value() + 1;
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| signal.wait_until(patience, |value| value == next));
            if patience < Duration::from_secs(1) {
                while signal.n_sleeping() == 0 {
                    std::thread::yield_now();
                }
            }
            signal.add(1);
            waiting.join().unwrap();
        });
        assert_eq!(signal.n_sleeping(), 0);
    }
    assert_eq!(signal.wait_until(Duration::ZERO, |value| value == 3), Duration::ZERO);
}

#[test]
fn every_part_is_claimed_once_in_every_phase() {
    for n_workers in 1..=4 {
        // There may be room for more workers than take part.
        let mut claims = Claims::new(4);
        for n_own in [1, 3, 16] {
            claims.reset();
            let counts: Vec<Vec<_>> =
                (0..5).map(|_| (0..n_workers * n_own).map(|_| AtomicUsize::new(0)).collect()).collect();
            let body = |worker: &Worker<'_>| {
                for (phase, counts) in counts.iter().enumerate() {
                    for part in claims.of_phase(phase, worker, n_own) {
                        assert_eq!(part.count, counts.len());
                        counts[part.index].fetch_add(1, Ordering::Relaxed);
                        // A slow worker leaves its parts to others.
                        if worker.index() == phase % n_workers {
                            std::thread::yield_now();
                        }
                    }
                    worker.barrier()?;
                }
                Ok(())
            };
            Team::new(n_workers).unwrap().run(body).unwrap();
            assert!(counts.iter().flatten().all(|count| count.load(Ordering::Relaxed) == 1));
        }
    }
}
