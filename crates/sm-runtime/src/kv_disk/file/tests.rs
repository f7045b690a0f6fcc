//! The file keeps what was written, within its limit, and gives back nothing else.

use std::path::PathBuf;

use proptest::prelude::*;
use sm_kernels::plan::PAGE_LEN;
use sm_tensor::TokenId;

use super::*;
use crate::testing::Scratch;

const PAGE_BYTES: usize = 40;
const SLOT_BYTES: usize = HEADER_BYTES + PAGE_BYTES;

fn params(dir: &Scratch, n_pages: usize) -> FileParams<'_> {
    let max_bytes = (FILE_HEADER_BYTES + n_pages * SLOT_BYTES) as u64;
    FileParams {
        kind: RecordKind::Page,
        dir: dir.path(),
        max_bytes,
        fingerprint: 5,
        record_bytes: PAGE_BYTES,
    }
}

fn name(key: u32) -> RecordName {
    let keys = [key, key + 1].map(|key| PageKey(u128::from(key) << 77));
    RecordName { key: keys[1], parent: keys[0], tokens: [TokenId(key); PAGE_LEN] }
}

fn page(key: u32) -> Vec<u8> {
    (0..PAGE_BYTES as u32).map(|index| (index * 7 + key * 31) as u8).collect()
}

/// A file of the pages 1 to `n_pages`.
fn filled(params: &FileParams<'_>, n_pages: u32) -> PathBuf {
    let (mut file, contents) = RecordFile::open(params).unwrap();
    assert_eq!(contents, Contents::default());
    for key in 1..=n_pages {
        file.write(key - 1, &name(key), u64::from(key), &page(key)).unwrap();
    }
    params.dir.join(file_name(params.kind))
}

/// The pages that can be read of a file of `n_pages`, each as it was written, and how many were found damaged.
fn readable(params: &FileParams<'_>, n_pages: u32) -> (Vec<u32>, u64) {
    let (mut file, contents) = RecordFile::open(params).unwrap();
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
    let params = params(&dir, 4);
    filled(&params, 3);
    assert_eq!(readable(&params, 4), (vec![1, 2, 3], 0));
    let (mut file, contents) = RecordFile::open(&params).unwrap();
    assert_eq!(contents.last_number, 3);
    assert_eq!(contents.stored[1], Some((name(2).key, 2)));
    assert_eq!(file.read(0, &name(2), &mut [0; PAGE_BYTES]), Outcome::Other);
    file.write(0, &name(9), 4, &page(9)).unwrap();
    assert_eq!(file.read(0, &name(1), &mut [0; PAGE_BYTES]), Outcome::Other);
    assert_eq!(file.read(0, &name(9), &mut [0; PAGE_BYTES]), Outcome::Intact);
}

#[test]
fn another_model_or_page_begins_it_afresh() {
    for (fingerprint, record_bytes) in [(6, PAGE_BYTES), (5, PAGE_BYTES + 1)] {
        let dir = Scratch::new();
        let params = params(&dir, 4);
        filled(&params, 3);
        let (_, contents) = RecordFile::open(&FileParams { fingerprint, record_bytes, ..params }).unwrap();
        assert_eq!(contents, Contents::default());
    }
}

#[test]
fn a_lower_limit_cuts_the_file_and_a_higher_one_lets_it_grow() {
    let dir = Scratch::new();
    let path = filled(&params(&dir, 4), 4);
    assert_eq!(readable(&params(&dir, 2), 4), (vec![1, 2], 0));
    assert_eq!(std::fs::metadata(path).unwrap().len(), params(&dir, 2).max_bytes);
    assert_eq!(readable(&params(&dir, 9), 4), (vec![1, 2], 0));
}

#[test]
fn a_directory_is_for_one_at_a_time_and_a_file_for_one_page_at_least() {
    let dir = Scratch::new();
    let params = params(&dir, 1);
    let open = RecordFile::open(&params).unwrap();
    let error = RecordFile::open(&params).unwrap_err();
    assert!(matches!(error, KvDiskError::InUse { .. }), "{error}");
    drop(open);
    let small = FileParams { max_bytes: params.max_bytes - 1, ..params };
    let error = RecordFile::open(&small).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a file with one KV page or state needs 232 B but kv_disk_bytes allows 231 B; raise it"
    );
    let in_the_way = dir.path().join(file_name(RecordKind::Page));
    let file = FileParams { dir: &in_the_way, record_bytes: 1, ..small };
    let error = RecordFile::open(&file).unwrap_err();
    assert!(matches!(error, KvDiskError::Io { action: "create the directory", .. }), "{error}");
}

#[test]
fn a_flipped_byte_anywhere_costs_the_page_it_is_in_and_is_counted() {
    let dir = Scratch::new();
    let params = params(&dir, 3);
    let path = filled(&params, 3);
    let whole = std::fs::read(&path).unwrap();
    for index in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[index] ^= 0x10;
        std::fs::write(&path, &bytes).unwrap();
        let hit = index.checked_sub(FILE_HEADER_BYTES).map(|behind| (behind / SLOT_BYTES) as u32 + 1);
        let left: Vec<u32> = (1..=3).filter(|key| hit.is_some_and(|hit| hit != *key)).collect();
        assert_eq!(readable(&params, 3), (left, 1), "byte {index}");
    }
}

#[test]
fn a_file_cut_anywhere_keeps_the_pages_before_the_cut() {
    let dir = Scratch::new();
    let params = params(&dir, 3);
    let path = filled(&params, 3);
    let whole = std::fs::read(&path).unwrap();
    for len in 0..whole.len() {
        std::fs::write(&path, &whole[..len]).unwrap();
        let n_whole = len.checked_sub(FILE_HEADER_BYTES).map_or(0, |behind| behind / SLOT_BYTES);
        let is_torn = match len.checked_sub(FILE_HEADER_BYTES) {
            Some(behind) => behind % SLOT_BYTES > 0,
            None => len > 0,
        };
        let kept = (1..=n_whole as u32).collect();
        assert_eq!(readable(&params, 3), (kept, u64::from(is_torn)), "{len} bytes");
    }
}

proptest! {
    #[test]
    fn garbage_is_never_taken_for_a_page(garbage in prop::collection::vec(any::<u8>(), 1..1000), at in 0usize..800) {
        let dir = Scratch::new();
        let params = params(&dir, 4);
        let path = filled(&params, 3);
        let original = std::fs::read(&path).unwrap();
        let mut bytes = original[..at.min(original.len())].to_vec();
        bytes.extend(garbage);
        std::fs::write(&path, &bytes).unwrap();
        let (keys, _) = readable(&params, 4);
        // Garbage may be the very bytes that it replaces.
        let is_original = |key: &u32| {
            let end = FILE_HEADER_BYTES + *key as usize * SLOT_BYTES;
            bytes.get(end - SLOT_BYTES..end) == original.get(end - SLOT_BYTES..end)
        };
        prop_assert!(keys.iter().all(is_original));
        prop_assert!(std::fs::metadata(&path).unwrap().len() <= params.max_bytes);
    }
}

#[cfg(unix)]
#[test]
fn only_the_user_may_read_a_file_even_one_that_all_could_before() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = Scratch::new();
    let params = params(&dir, 1);
    let path = filled(&params, 1);
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(readable(&params, 1), (vec![1], 0));
    assert_eq!(mode(), 0o600);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named_as_such() {
    let full = File::options().read(true).write(true).open("/dev/full").unwrap();
    let mut file =
        RecordFile { file: full, seal: Seal { fingerprint: 5 }, record_bytes: PAGE_BYTES, n_slots: 4 };
    let error = file.write(0, &name(1), 1, &page(1)).unwrap_err();
    let error = KvDiskError::io("write", Path::new("kv"))(error);
    assert!(matches!(error, KvDiskError::Full { .. }));
    assert!(error.to_string().starts_with("cannot write kv: the disk is full"), "{error}");
}
