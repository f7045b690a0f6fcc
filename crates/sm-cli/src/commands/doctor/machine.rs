//! Information reported by the operating system and the CPU.

use std::fmt;
use std::fs;

use serde::Serialize;

use crate::console::Bytes;

/// The CPU.
#[derive(Debug, Serialize)]
pub(super) struct Cpu {
    /// Its name.
    model: Option<String>,
    /// Threads this process can run concurrently.
    pub(super) cores: usize,
    /// Instruction sets usable by kernels.
    pub(super) features: Vec<&'static str>,
}

impl Cpu {
    pub(super) fn detect() -> Self {
        let model = field(&read("/proc/cpuinfo"), "model name");
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { model, cores, features: features() }
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} threads", self.model.as_deref().unwrap_or("unknown"), self.cores)
    }
}

/// The memory, in bytes.
#[derive(Debug, Serialize)]
pub(super) struct Memory {
    total_bytes: Option<u64>,
    available_bytes: Option<u64>,
    /// The limit of this process's control group, if any.
    limit_bytes: Option<u64>,
    /// The kernel's transparent huge page mode.
    pub(super) huge_pages: Option<String>,
}

impl Memory {
    pub(super) fn detect() -> Self {
        let info = read("/proc/meminfo");
        let bytes =
            |name| field(&info, name)?.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024);
        let modes = read("/sys/kernel/mm/transparent_hugepage/enabled");
        Self {
            total_bytes: bytes("MemTotal"),
            available_bytes: bytes("MemAvailable"),
            limit_bytes: read("/sys/fs/cgroup/memory.max").trim().parse().ok(),
            huge_pages: bracketed(&modes).map(|mode| format!("transparent: {mode}")),
        }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.available_bytes, self.total_bytes) {
            (Some(available), Some(total)) => write!(f, "{} free of {}", Bytes(available), Bytes(total))?,
            _ => f.write_str("unknown")?,
        }
        self.limit_bytes
            .map_or(Ok(()), |limit| write!(f, ", limited to {} by the control group", Bytes(limit)))
    }
}

/// Reads a kernel file; empty if it does not exist.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The value of the first line `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
}

/// The selected mode in `always [madvise] never`.
fn bracketed(modes: &str) -> Option<&str> {
    modes.split_once('[')?.1.split_once(']').map(|(mode, _)| mode)
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    use std::arch::is_x86_feature_detected as has;
    let known = [
        ("avx2", has!("avx2")),
        ("fma", has!("fma")),
        ("f16c", has!("f16c")),
        ("avx512f", has!("avx512f")),
        ("avx512bw", has!("avx512bw")),
        ("avx512vl", has!("avx512vl")),
        ("avx512dq", has!("avx512dq")),
        ("avx512vnni", has!("avx512vnni")),
    ];
    known.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> Vec<&'static str> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_choices_are_found() {
        assert_eq!(field("a: 1\nMemTotal:   12 kB\n", "MemTotal"), Some("12 kB".to_owned()));
        assert_eq!(field("a: 1\n", "b"), None);
        assert_eq!(bracketed("always [madvise] never\n"), Some("madvise"));
        assert_eq!(bracketed(""), None);
    }
}
