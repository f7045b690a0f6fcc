//! Teams: order, panics, shares, and the sharing of threads.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

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
