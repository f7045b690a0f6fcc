//! Pages are disjoint, and what is written in one layout is read in it.

use super::*;
use crate::cpu::team::Team;

/// Layers of two shapes.
fn layout() -> CacheLayout {
    let pages = vec![PageGroup::uniform(2, 2, 5), PageGroup { key_dim: 7, ..PageGroup::uniform(1, 2, 5) }];
    CacheLayout { pages, states: Vec::new() }
}

fn write_all(pool: &KvPool, layer: usize, n_workers: usize, pages: &[u32]) {
    let mut written = WrittenPages::new(pool.n_pages(), 8);
    let mut table = TileTable::with_capacity(8, n_workers);
    written.clear();
    table.reset(2);
    for &page in pages {
        written.push(PageId(page));
        table.push_rows(1);
    }
    table.share_evenly(n_workers);
    let write = |worker: &Worker<'_>| {
        // SAFETY: nobody else uses the pool, and each worker takes one share.
        let mut share = unsafe { pool.share::<f32>(layer, &written, &table, worker) };
        for tile in share.tiles() {
            let name = (layer * 1000 + pages[tile / 2] as usize * 10 + tile % 2) as f32;
            let (keys, values) = share.page_mut(tile);
            assert_eq!((keys.len(), values.len()), (if layer < 2 { 5 * 16 } else { 7 * 16 }, 16 * 16));
            keys.fill(name);
            values.fill(-name);
        }
        worker.barrier()
    };
    Team::new(n_workers).unwrap().run(write).unwrap();
}

fn first_key(pool: &KvPool, layer: usize, page: u32, head: usize) -> f32 {
    // SAFETY: nobody writes.
    let pages = unsafe { pool.pages::<f32>(layer) };
    let (keys, values) = pages.page(PageId(page), head);
    let (keys, values) = (keys.vectors.as_flattened(), values.vectors.as_flattened());
    assert!(keys.iter().all(|key| *key == keys[0]) && values.iter().all(|value| *value == -keys[0]));
    keys[0]
}

#[test]
fn pages_are_zero_written_apart_and_copied_in_all_layers() {
    for n_workers in 1..5 {
        let mut pool = KvPool::new(&layout(), 6, KvDType::F32).unwrap();
        (0..3).for_each(|layer| write_all(&pool, layer, n_workers, &[4, 1, 5]));
        pool.copy_page(PageId(4), PageId(2));
        for layer in 0..3 {
            for (page, origin) in
                [(0, None), (1, Some(1)), (2, Some(4)), (3, None), (4, Some(4)), (5, Some(5))]
            {
                for head in 0..2 {
                    let expected = origin.map_or(0, |origin| layer * 1000 + origin * 10 + head);
                    assert_eq!(first_key(&pool, layer, page, head), expected as f32);
                }
            }
        }
    }
}

#[test]
#[should_panic(expected = "page 4 is written twice")]
fn a_page_is_written_once_in_a_step() {
    let mut written = WrittenPages::new(6, 8);
    written.clear();
    written.push(PageId(4));
    written.clear();
    [4, 1, 4].into_iter().for_each(|page| written.push(PageId(page)));
}

#[test]
fn pages_that_are_read_come_back_in_layers_of_any_shape() {
    let mut pool = KvPool::new(&layout(), 6, KvDType::Q8_0).unwrap();
    let bytes: Vec<u8> = (0..pool.page_bytes()).map(|i| (i % 251) as u8).collect();
    pool.write_page(PageId(3), &bytes);
    let mut read = vec![0; bytes.len()];
    for page in 0..6 {
        pool.read_page(PageId(page), &mut read);
        assert_eq!(read == bytes, page == 3, "page {page}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no madvise")]
fn pages_that_are_released_are_blank_and_others_stay() {
    let layout = CacheLayout { pages: vec![PageGroup::uniform(2, 4, 64)], states: Vec::new() };
    let mut pool = KvPool::new(&layout, 40, KvDType::F16).unwrap();
    assert_eq!(pool.n_bytes(), KvPool::needed_bytes(&layout, 40, KvDType::F16).unwrap());
    let mut bytes = vec![7; pool.page_bytes()];
    (0..40).for_each(|page| pool.write_page(PageId(page), &bytes));
    let released: Vec<PageId> = (0..5).chain(8..30).map(PageId).collect();
    pool.release_pages(&released);
    let mut n_blank = 0;
    for page in (0..40).map(PageId) {
        pool.read_page(page, &mut bytes);
        n_blank += usize::from(bytes.iter().all(|byte| *byte == 0));
        assert!(released.contains(&page) || bytes.iter().all(|byte| *byte == 7), "page {}", page.0);
    }
    assert_eq!(n_blank > 0, cfg!(target_os = "linux"), "{n_blank} pages are blank");
}

#[test]
#[cfg_attr(miri, ignore = "Miri ends where a system would refuse memory")]
fn a_pool_too_large_is_refused() {
    for n_pages in [usize::MAX, usize::MAX / 10_000] {
        let error = KvPool::new(&layout(), n_pages, KvDType::F16).unwrap_err();
        assert!(matches!(error, PrepareError::OutOfMemory { what: "the KV pool", .. }), "{error}");
    }
}
