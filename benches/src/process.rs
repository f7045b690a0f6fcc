//! What a process has used of the machine, as Linux tells; nothing where there is no `/proc`.

use std::fs;

/// Ticks of `/proc` per second, as Linux gives them to programs on every architecture.
pub(crate) const TICKS_PER_SECOND: f64 = 100.0;

/// What the threads of a process have used since it started.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Used {
    /// Processor time, in seconds, exact to a hundredth.
    pub(crate) cpu_seconds: f64,
    /// Pages of memory that the system provided when they were touched.
    pub(crate) page_faults: f64,
}

impl Used {
    /// By this process.
    pub(crate) fn now() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    /// From a process's `/proc/…/stat`.
    pub(crate) fn parse(stat: &str) -> Option<Self> {
        // The name, in parentheses, may hold anything; the state behind it is a letter and no number.
        let fields = numbers(stat.rsplit_once(')')?.1);
        let cpu_seconds = (fields.get(10)? + fields.get(11)?) / TICKS_PER_SECOND;
        Some(Self { cpu_seconds, page_faults: *fields.get(6)? })
    }
}

/// The words of a text that are numbers.
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
