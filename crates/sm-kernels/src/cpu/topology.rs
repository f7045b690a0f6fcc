//! What the machine has.

use std::num::NonZero;
use std::thread::available_parallelism;

/// The most threads of a team: one bit of a word for each says which shares are taken.
pub(crate) const MAX_THREADS: usize = 64;

/// One thread for each processor that this process may use.
///
/// Where two processors share a core, the second helps little, but which ones this process may use the system does not
/// say portably.
pub(crate) fn default_threads() -> usize {
    n_cores().min(MAX_THREADS)
}

/// Processors that this process may use.
pub(crate) fn n_cores() -> usize {
    available_parallelism().map_or(1, NonZero::get)
}

/// Bytes of memory that this process could still get: what the system has, or its control group allows, if they tell.
pub(crate) fn available_bytes() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let system = read("/proc/meminfo").and_then(|text| {
        Some(kilobytes(&text, "MemAvailable:")? + kilobytes(&text, "SwapFree:").unwrap_or(0))
    });
    let group = || {
        let limit: u64 = read("/sys/fs/cgroup/memory.max")?.trim().parse().ok()?;
        let used: u64 = read("/sys/fs/cgroup/memory.current")?.trim().parse().ok()?;
        let stat = read("/sys/fs/cgroup/memory.stat").unwrap_or_default();
        // What was read from files makes way; files that lie in memory do not.
        let cached = number(&stat, "file").unwrap_or(0).saturating_sub(number(&stat, "shmem").unwrap_or(0));
        Some(limit.saturating_sub(used.saturating_sub(cached)))
    };
    system.into_iter().chain(group()).min()
}

/// The number behind a name, as bytes.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    number(text, name)?.checked_mul(1024)
}

/// The number behind a name at the start of a line.
fn number(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_whitespace);
    lines.find_map(|mut words| (words.next() == Some(name)).then(|| words.next()?.parse().ok())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_the_system_writes_it() {
        let text = "MemTotal:       24633112 kB\nMemFree:         1 kB\nMemAvailable:   20971520 kB\n";
        assert_eq!(kilobytes(text, "MemAvailable:"), Some(20 << 30));
        assert_eq!(number("anon 5\nfile 123\nfile_mapped 9\n", "file"), Some(123));
        assert_eq!(number("anon 5\n", "file"), None);
        assert_eq!(available_bytes().is_some(), cfg!(target_os = "linux"));
    }
}
