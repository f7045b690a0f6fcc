//! Shares are disjoint, complete, and taken once.

use super::*;
use crate::cpu::team::Team;

/// Sizes of teams. Miri takes seconds for each.
const N_WORKERS: Range<usize> = if cfg!(miri) { 2..3 } else { 1..5 };

#[test]
fn every_value_belongs_to_exactly_one_share() {
    for by in [By::Columns(8), By::Columns(1), By::Rows(1), By::Rows(2)] {
        for (n_rows, stride) in [(1, 8), (3, 16), (5, 24), (0, 4)] {
            for n_workers in N_WORKERS {
                let mut data = vec![0; n_rows * stride];
                let split = Split::new(&mut data, stride, by, n_workers);
                let add_one = |worker: &Worker<'_>| {
                    let mut share = split.share(worker);
                    for row in share.rows() {
                        share.row_mut(row).iter_mut().for_each(|value| *value += 1);
                    }
                    worker.barrier()
                };
                Team::new(n_workers).unwrap().run(add_one).unwrap();
                assert!(
                    data.iter().all(|value| *value == 1),
                    "{by:?} {n_rows} x {stride}, {n_workers} workers"
                );
            }
        }
    }
}

#[test]
fn a_share_can_be_taken_once() {
    let mut data = [0.0_f32; 8];
    let split = Split::new(&mut data, 8, By::Columns(1), 1);
    let mut team = Team::new(1).unwrap();
    let result = team.run(|worker| {
        let _first = split.share(worker);
        let _second = split.share(worker);
        Ok(())
    });
    assert_eq!(result.unwrap_err().message, "worker 0 took its share twice");
}
