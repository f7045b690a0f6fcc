//! The machine and its processes, from `/proc`; `None` without it.

use std::fs;

use crate::process::{TICKS_PER_SECOND, Used, numbers};

/// The processor, the cores available to this process, and the instruction sets.
pub fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name))?;
        line.split_once(':').map(|(_, value)| value.trim())
    };
    let name = field("model name").unwrap_or("unknown processor");
    let family = field("cpu family").unwrap_or("?");
    let number = info.lines().find(|line| line.starts_with("model\t")).and_then(|line| line.split_once(": "));
    let number = number.map_or("?", |(_, value)| value);
    let n_cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kinds: Vec<_> = sm_kernels::IsaKind::available().map(sm_kernels::IsaKind::name).collect();
    format!("{name} (family {family}, model {number}), {n_cores} cores, {}", kinds.join(", "))
}

/// CPU time in seconds, of all processes and of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct CpuTime {
    all: f64,
    process: f64,
}

impl CpuTime {
    /// The CPU time so far, of all processes and of `process`.
    pub(super) fn now(process: u32) -> Option<Self> {
        let system = fs::read_to_string("/proc/stat").ok()?;
        let process = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        Self::parse(&system, &process)
    }

    /// Parses `/proc/stat` and `/proc/PID/stat`.
    fn parse(system: &str, process: &str) -> Option<Self> {
        let ticks = numbers(system.lines().next()?.strip_prefix("cpu ")?);
        // User, nice, system, idle, waiting, interrupts, soft interrupts, stolen.
        let all = ticks.iter().take(8).sum::<f64>() - ticks.get(3)? - ticks.get(4)?;
        Some(Self { all: all / TICKS_PER_SECOND, process: Used::parse(process)?.cpu_seconds })
    }

    /// CPU time of all other processes from `self` to `later`, in seconds.
    pub(super) fn foreign_until(&self, later: &Self) -> f64 {
        (later.all - self.all - (later.process - self.process)).max(0.0)
    }
}

/// The peak resident memory of a process, in bytes.
pub(super) fn peak_bytes(process: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_time_is_not_foreign() {
        let process = |user| format!("7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 {user} 50 0 0 20 0");
        let before = CpuTime::parse("cpu  100 10 20 5000 40 1 2 3 0 0\ncpu0 1", &process(100)).unwrap();
        let after = CpuTime::parse("cpu  400 20 50 6000 90 1 2 3 0 0\ncpu0 1", &process(350)).unwrap();
        assert_eq!((before.all, before.process), (1.36, 1.5));
        let foreign = before.foreign_until(&after);
        assert!((foreign - 0.9).abs() < 1e-9, "{foreign}");
        assert!(CpuTime::parse("", &process(1)).is_none());
    }
}
