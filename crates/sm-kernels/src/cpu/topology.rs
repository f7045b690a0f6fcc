//! What the machine has: processors, and memory that the process could still get.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::path::Path;
use std::thread::available_parallelism;

/// The most threads of a team: one bit of a word for each says which shares are taken.
pub(crate) const MAX_THREADS: usize = 64;

/// One thread per physical core that this process may use, where the system tells cores from processors: the second
/// hardware thread of a core adds little to kernels that keep its vector units busy, and halves its cache.
pub(crate) fn default_threads() -> usize {
    let cores = n_cores(Path::new("/sys/devices/system/cpu"), &allowed_processors());
    cores.unwrap_or(usize::MAX).min(n_processors()).min(MAX_THREADS)
}

/// Processors that this process may use, by its affinity and the quotas of its control groups.
pub(crate) fn n_processors() -> usize {
    available_parallelism().map_or(1, NonZero::get)
}

/// The processors in the affinity of this process. Empty if the system does not tell.
fn allowed_processors() -> Vec<usize> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.map(|list| numbers_of(list.trim())).unwrap_or_default()
}

/// Physical cores of some processors, described by the folders of Linux. None if they do not tell.
fn n_cores(folder: &Path, processors: &[usize]) -> Option<usize> {
    let siblings = |processor: &usize| {
        let path = folder.join(format!("cpu{processor}/topology/thread_siblings_list"));
        std::fs::read_to_string(path).ok().and_then(|list| numbers_of(list.trim()).into_iter().min())
    };
    let cores: Option<BTreeSet<usize>> = processors.iter().map(siblings).collect();
    cores.map(|cores| cores.len()).filter(|n_cores| *n_cores > 0)
}

/// The numbers of a list such as `0-3,8`. Empty if it is not one.
fn numbers_of(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    let ranges: Option<Vec<_>> = list.split(',').map(range).collect();
    ranges.into_iter().flatten().flatten().collect()
}

/// Bytes of memory that this process could still get, by `/proc/meminfo` and by the limit of its control group. None if
/// neither tells.
pub(crate) fn available_bytes() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let system = read("/proc/meminfo").and_then(|text| {
        Some(kilobytes(&text, "MemAvailable:")? + kilobytes(&text, "SwapFree:").unwrap_or(0))
    });
    let group = || {
        let limit: u64 = read("/sys/fs/cgroup/memory.max")?.trim().parse().ok()?;
        let used: u64 = read("/sys/fs/cgroup/memory.current")?.trim().parse().ok()?;
        let stat = read("/sys/fs/cgroup/memory.stat").unwrap_or_default();
        // Page cache is reclaimable, except for files in memory (shmem).
        let cached = number(&stat, "file").unwrap_or(0).saturating_sub(number(&stat, "shmem").unwrap_or(0));
        Some(limit.saturating_sub(used.saturating_sub(cached)))
    };
    system.into_iter().chain(group()).min()
}

/// The number after `name`, which counts KiB, in bytes.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    number(text, name)?.checked_mul(1024)
}

/// The number after `name` at the start of a line.
fn number(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_whitespace);
    lines.find_map(|mut words| (words.next() == Some(name)).then(|| words.next()?.parse().ok())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_threads_of_one_core_count_once() {
        assert_eq!(numbers_of("0-3,8"), [0, 1, 2, 3, 8]);
        for list in ["", "x", "1-", "0,,1"] {
            assert_eq!(numbers_of(list), [0_usize; 0], "{list:?}");
        }
        let folder = std::env::temp_dir().join(format!("sm-topology-{}", std::process::id()));
        for (processor, siblings) in [(0, "0,4"), (1, "1,5"), (4, "0,4"), (5, "1,5")] {
            let topology = folder.join(format!("cpu{processor}/topology"));
            std::fs::create_dir_all(&topology).unwrap();
            std::fs::write(topology.join("thread_siblings_list"), format!("{siblings}\n")).unwrap();
        }
        assert_eq!(n_cores(&folder, &[0, 1, 4, 5]), Some(2));
        assert_eq!(n_cores(&folder, &[1, 5]), Some(1));
        assert_eq!(n_cores(&folder, &[1, 6]), None, "not described");
        assert_eq!(n_cores(&folder, &[]), None);
        std::fs::remove_dir_all(&folder).unwrap();
        assert!((1..=n_processors()).contains(&default_threads()));
    }

    #[test]
    fn parses_the_files_of_the_system() {
        let text = "MemTotal:       24633112 kB\nMemFree:         1 kB\nMemAvailable:   20971520 kB\n";
        assert_eq!(kilobytes(text, "MemAvailable:"), Some(20 << 30));
        assert_eq!(number("anon 5\nfile 123\nfile_mapped 9\n", "file"), Some(123));
        assert_eq!(number("anon 5\n", "file"), None);
        assert_eq!(available_bytes().is_some(), cfg!(target_os = "linux"));
    }
}
