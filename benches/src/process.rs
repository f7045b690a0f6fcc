//! CPU time and page faults of a process, from `/proc`; `None` without it.

use std::fs;

/// Clock ticks of `/proc` per second: the same on every architecture of Linux.
pub(crate) const TICKS_PER_SECOND: f64 = 100.0;

/// Resources used by a process, including all threads, since it started.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Used {
    /// CPU time in seconds, to a hundredth.
    pub(crate) cpu_seconds: f64,
    /// Minor page faults: pages provided by the system on first touch.
    pub(crate) page_faults: f64,
}

impl Used {
    /// The usage of this process.
    pub(crate) fn now() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    /// Parses a process's `/proc/…/stat`.
    pub(crate) fn parse(stat: &str) -> Option<Self> {
        // The name, in parentheses, may contain anything. The state after it is a letter, not a number.
        let fields = numbers(stat.rsplit_once(')')?.1);
        let cpu_seconds = (fields.get(10)? + fields.get(11)?) / TICKS_PER_SECOND;
        Some(Self { cpu_seconds, page_faults: *fields.get(6)? })
    }
}

/// The words of `text` that are numbers.
pub(crate) fn numbers(text: &str) -> Vec<f64> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_look_like_numbers() {
        let used = Used::parse("7 (a) 1 (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0");
        assert_eq!(used, Some(Used { cpu_seconds: 3.0, page_faults: 7.0 }));
        assert_eq!((Used::parse(""), Used::parse("7 (a) S 1 2 3")), (None, None));
    }
}
