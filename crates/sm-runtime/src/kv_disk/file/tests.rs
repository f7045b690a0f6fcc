//! The file keeps what was written, within its limit, and gives back nothing else.

use std::path::PathBuf;

use proptest::prelude::*;
use sm_kernels::plan::PAGE_LEN;
use sm_tensor::TokenId;

use super::*;
use crate::testing::Scratch;

const PAGE_BYTES: usize = 40;
const SLOT_BYTES: usize = HEADER_BYTES + PAGE_BYTES;

fn config(dir: &Scratch, n_pages: usize) -> KvDiskConfig {
    let max_bytes = (FILE_HEADER_BYTES + n_pages * SLOT_BYTES) as u64;
    KvDiskConfig { dir: dir.path().to_owned(), max_bytes }
}

fn name(key: u32) -> PageName {
    let keys = [key, key + 1].map(|key| PageKey(u128::from(key) << 77));
    PageName { key: keys[1], parent: keys[0], tokens: [TokenId(key); PAGE_LEN] }
}

fn page(key: u32) -> Vec<u8> {
    (0..PAGE_BYTES as u32).map(|index| (index * 7 + key * 31) as u8).collect()
}

/// A file of the pages 1 to `n_pages`.
fn filled(config: &KvDiskConfig, n_pages: u32) -> PathBuf {
    let (mut file, contents) = PageFile::open(config, 5, PAGE_BYTES).unwrap();
    assert_eq!(contents, Contents::default());
    for key in 1..=n_pages {
        file.write(key - 1, &name(key), u64::from(key), &page(key)).unwrap();
    }
    config.dir.join(FILE_NAME)
}

/// The pages that can be read of a file of `n_pages`, each as it was written, and how many were found damaged.
fn readable(config: &KvDiskConfig, n_pages: u32) -> (Vec<u32>, u64) {
    let (mut file, contents) = PageFile::open(config, 5, PAGE_BYTES).unwrap();
    let (mut keys, mut n_damaged) = (Vec::new(), contents.n_damaged);
    let mut bytes = vec![0; PAGE_BYTES];
    for key in 1..=n_pages {
        let is_stored = contents.stored.get(key as usize - 1).is_some_and(Option::is_some);
        match file.read(key - 1, &name(key), &mut bytes) {
            Outcome::Intact => {
                assert!(is_stored && bytes == page(key), "page {key}");
                keys.push(key);
            }
            Outcome::Damaged => n_damaged += u64::from(is_stored),
            Outcome::Other => panic!("page {key} is another"),
        }
    }
    (keys, n_damaged)
}

#[test]
fn what_was_written_is_there_after_it_is_opened_again() {
    let dir = Scratch::new();
    let config = config(&dir, 4);
    filled(&config, 3);
    assert_eq!(readable(&config, 4), (vec![1, 2, 3], 0));
    let (mut file, contents) = PageFile::open(&config, 5, PAGE_BYTES).unwrap();
    assert_eq!(contents.last_number, 3);
    assert_eq!(contents.stored[1], Some((name(2).key, 2)));
    assert_eq!(file.read(0, &name(2), &mut [0; PAGE_BYTES]), Outcome::Other);
    file.write(0, &name(9), 4, &page(9)).unwrap();
    assert_eq!(file.read(0, &name(1), &mut [0; PAGE_BYTES]), Outcome::Other);
    assert_eq!(file.read(0, &name(9), &mut [0; PAGE_BYTES]), Outcome::Intact);
}

#[test]
fn another_model_or_page_begins_it_afresh() {
    for (fingerprint, page_bytes) in [(6, PAGE_BYTES), (5, PAGE_BYTES + 1)] {
        let dir = Scratch::new();
        let config = config(&dir, 4);
        filled(&config, 3);
        let (_, contents) = PageFile::open(&config, fingerprint, page_bytes).unwrap();
        assert_eq!(contents, Contents::default());
    }
}

#[test]
fn a_lower_limit_cuts_the_file_and_a_higher_one_lets_it_grow() {
    let dir = Scratch::new();
    let path = filled(&config(&dir, 4), 4);
    assert_eq!(readable(&config(&dir, 2), 4), (vec![1, 2], 0));
    assert_eq!(std::fs::metadata(path).unwrap().len(), config(&dir, 2).max_bytes);
    assert_eq!(readable(&config(&dir, 9), 4), (vec![1, 2], 0));
}

#[test]
fn a_directory_is_for_one_at_a_time_and_a_file_for_one_page_at_least() {
    let dir = Scratch::new();
    let config = config(&dir, 1);
    let open = PageFile::open(&config, 5, PAGE_BYTES).unwrap();
    let error = PageFile::open(&config, 5, PAGE_BYTES).unwrap_err();
    assert!(matches!(error, KvDiskError::InUse { .. }), "{error}");
    drop(open);
    let small = KvDiskConfig { max_bytes: config.max_bytes - 1, ..config };
    let error = PageFile::open(&small, 5, PAGE_BYTES).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a file with one KV page needs 232 B but kv_disk_bytes allows 231 B; raise it"
    );
    let file = KvDiskConfig { dir: dir.path().join(FILE_NAME), ..small };
    let error = PageFile::open(&file, 5, 1).unwrap_err();
    assert!(matches!(error, KvDiskError::Io { action: "make the directory", .. }), "{error}");
}

#[test]
fn a_flipped_byte_anywhere_costs_the_page_it_is_in_and_is_counted() {
    let dir = Scratch::new();
    let config = config(&dir, 3);
    let path = filled(&config, 3);
    let whole = std::fs::read(&path).unwrap();
    for index in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[index] ^= 0x10;
        std::fs::write(&path, &bytes).unwrap();
        let hit = index.checked_sub(FILE_HEADER_BYTES).map(|behind| (behind / SLOT_BYTES) as u32 + 1);
        let left: Vec<u32> = (1..=3).filter(|key| hit.is_some_and(|hit| hit != *key)).collect();
        assert_eq!(readable(&config, 3), (left, 1), "byte {index}");
    }
}

#[test]
fn a_file_cut_anywhere_keeps_the_pages_before_the_cut() {
    let dir = Scratch::new();
    let config = config(&dir, 3);
    let path = filled(&config, 3);
    let whole = std::fs::read(&path).unwrap();
    for len in 0..whole.len() {
        std::fs::write(&path, &whole[..len]).unwrap();
        let n_whole = len.checked_sub(FILE_HEADER_BYTES).map_or(0, |behind| behind / SLOT_BYTES);
        let is_torn = match len.checked_sub(FILE_HEADER_BYTES) {
            Some(behind) => behind % SLOT_BYTES > 0,
            None => len > 0,
        };
        let kept = (1..=n_whole as u32).collect();
        assert_eq!(readable(&config, 3), (kept, u64::from(is_torn)), "{len} bytes");
    }
}

proptest! {
    #[test]
    fn garbage_is_never_taken_for_a_page(garbage in prop::collection::vec(any::<u8>(), 1..1000), at in 0usize..800) {
        let dir = Scratch::new();
        let config = config(&dir, 4);
        let path = filled(&config, 3);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.truncate(at);
        bytes.extend(garbage);
        std::fs::write(&path, &bytes).unwrap();
        let (keys, _) = readable(&config, 4);
        prop_assert!(keys.iter().all(|key| FILE_HEADER_BYTES + *key as usize * SLOT_BYTES <= at));
        prop_assert!(std::fs::metadata(&path).unwrap().len() <= config.max_bytes);
    }
}
