//! Phases of a step over regions and pages, small and without instruction sets, so that Miri can run them.

use sm_tensor::PageId;

use super::*;
use crate::cpu::kv_pool::{KvPool, WrittenPages};
use crate::cpu::split::{By, TileTable};
use crate::cpu::team::Team;
use crate::plan::{CacheLayout, KvDType, PageGroup};

const N_ROWS: usize = 5;
const N_COLUMNS: usize = 12;
const N_HEADS: usize = 2;

/// What a phase does.
#[derive(Clone, Copy, Debug)]
enum Task {
    /// `first[r][c] = 100 r + c`
    Fill,
    /// `second[r][c] = 2 first[r][c]`, in parts of columns.
    Double,
    /// `first[r][c] += second[r][c]`, in tiles.
    Add,
    /// Fills the pages of each row with its first value.
    Store,
    /// `first[r][0] =` the sum of what the pages of the row hold.
    Load,
}

struct Phase {
    task: Task,
    footprint: Footprint,
}

impl AsRef<Footprint> for Phase {
    fn as_ref(&self) -> &Footprint {
        &self.footprint
    }
}

#[derive(Clone, Copy)]
struct Regions {
    first: Region<f32>,
    second: Region<f32>,
}

/// One phase for each task.
fn phases(limits: Extents, Regions { first, second }: Regions) -> Vec<Phase> {
    let columns = ProductSize { rows: first.rows(), columns: N_COLUMNS, granularity: 2, depth: 1 << 20 };
    let tiles = By::PageRuns { runs: 0, tile_cols: N_COLUMNS / N_HEADS };
    let empty = Footprint::default;
    let footprints = [
        (Task::Fill, empty().write(limits, first, By::Rows(1))),
        (Task::Double, empty().read(limits, first).write(limits, second, By::Columns(2)).divisible(columns)),
        (Task::Add, empty().read(limits, second).write(limits, first, tiles)),
        (Task::Store, empty().read(limits, first).kv(KvUse::Write { layer: 0, runs: 0 })),
        (Task::Load, empty().write(limits, first, By::Rows(2)).kv(KvUse::Read { layer: 0 })),
    ];
    footprints.into_iter().map(|(task, footprint)| Phase { task, footprint }).collect()
}

/// A worker's part of a phase; `pages` are those of the rows.
fn perform(task: Task, access: &Access<'_>, Regions { first, second }: Regions, pages: &[PageId]) {
    let row_of = |values: &[f32], row: usize| values[row * N_COLUMNS..][..N_COLUMNS].to_vec();
    match task {
        Task::Fill => {
            let mut share = access.share(first);
            for row in share.rows() {
                let values = share.row_mut(row).iter_mut().enumerate();
                values.for_each(|(column, value)| *value = (100 * row + column) as f32);
            }
        }
        Task::Double => {
            let mut share = access.share(second);
            for row in share.rows() {
                let from = row_of(access.read(first), row);
                let columns = share.columns();
                let values = share.row_mut(row).iter_mut().zip(&from[columns]);
                values.for_each(|(value, from)| *value = 2.0 * from);
            }
        }
        Task::Add => {
            let table = access.page_runs(0);
            let mut share = access.tiles(first);
            for tile in table.of_worker(access.worker()) {
                let (row, head) = (tile / N_HEADS, tile % N_HEADS);
                let from = row_of(access.read(second), row);
                let values = share.row_mut(tile, row).iter_mut().zip(&from[head * N_COLUMNS / N_HEADS..]);
                values.for_each(|(value, from)| *value += from);
            }
        }
        Task::Store => {
            let mut share = access.kv_share::<f32>();
            for tile in share.tiles() {
                let value = row_of(access.read(first), tile / N_HEADS)[0];
                let (keys, values) = share.page_mut(tile);
                keys.fill(value + (tile % N_HEADS) as f32);
                values.fill(-value);
            }
        }
        Task::Load => {
            let stored = access.kv_pages::<f32>();
            let mut share = access.share(first);
            for row in share.rows() {
                let of_head = |head| {
                    let (keys, values) = stored.page(pages[row], head);
                    keys.vectors[0][0] + values.vectors[0][0]
                };
                share.row_mut(row)[0] = (0..N_HEADS).map(of_head).sum();
            }
        }
    }
}

#[test]
fn phases_of_a_step_see_what_the_phases_before_wrote() {
    for n_workers in 1..=3 {
        let limits = Extents { n_tokens: N_ROWS, n_outputs: 1, n_workers };
        let mut layout = ArenaLayout::new(limits, ALIGN);
        let mut region = || layout.region(RowCount::Per(Rows::Tokens, 1), N_COLUMNS).unwrap();
        let regions = Regions { first: region(), second: region() };
        let arena = Arena::new(limits, ALIGN, layout.end()).unwrap();
        let cache = CacheLayout { pages: vec![PageGroup::uniform(1, N_HEADS, 3)], states: Vec::new() };
        let kv = KvPool::new(&cache, 2 * N_ROWS, KvDType::F32).unwrap();
        let mut memory = StepMemory::new(arena, kv, n_workers);
        let pages: Vec<_> = (0..N_ROWS as u32).map(|row| PageId(2 * row + 1)).collect();
        let mut written = WrittenPages::new(2 * N_ROWS, N_ROWS);
        written.clear();
        let mut runs = TileTable::with_capacity(N_ROWS, n_workers);
        runs.reset(N_HEADS);
        for &page in &pages {
            written.push(page);
            runs.push_rows(1);
        }
        runs.share_evenly(n_workers);
        let shares =
            StepShares { extents: limits, page_runs: &[runs], attention_tiles: &[], written: &written };
        let phases = phases(limits, regions);
        let mut n_parts = vec![0; n_workers];
        let mut team = Team::new(n_workers).unwrap();
        // Claims are reset and pages written again in the second step.
        for _ in 0..2 {
            memory
                .run(&mut team, &mut n_parts, &shares, &phases, |phase, parts, n_parts| {
                    for access in parts {
                        *n_parts += 1;
                        perform(phase.task, &access, regions, &pages);
                    }
                })
                .unwrap();
        }
        assert!(n_parts.iter().sum::<usize>() > 2 * phases.len() * n_workers, "products are cut into parts");
        for (row, values) in memory.arena.region_mut(regions.first, limits).chunks(N_COLUMNS).enumerate() {
            // Both heads hold the value and minus it, the second 1 more.
            let expected = |column| if column == 0 { 1.0 } else { 3.0 * (100 * row + column) as f32 };
            assert!((0..N_COLUMNS).all(|column| values[column] == expected(column)), "row {row}: {values:?}");
        }
    }
}
