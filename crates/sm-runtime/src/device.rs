//! The device that runs a model.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// The device that runs a model.
///
/// Parses and prints in command-line syntax: `auto`, `cpu`, `cpu:avx2` (kernel set), `cpu:4` (threads), `cpu:avx2:4`,
/// `gpu`, `gpu:1` (index).
///
/// ```
/// use sm_runtime::Device;
///
/// assert_eq!("cpu:2".parse::<Device>()?, Device::Cpu { isa: None, threads: Some(2) });
/// assert_eq!(Device::cpu().to_string(), "cpu");
/// assert_eq!(Device::default(), Device::Auto);
/// # Ok::<(), sm_runtime::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Device {
    /// The fastest device that the build supports and the machine has.
    #[default]
    Auto,
    /// The CPU.
    Cpu {
        /// The kernel set, one of [`kernel_sets`](crate::kernel_sets). By default the fastest the processor supports.
        isa: Option<String>,
        /// Worker threads. By default one per core.
        threads: Option<usize>,
    },
    /// The GPU with this index.
    Gpu(usize),
}

impl Device {
    /// The CPU, with its fastest kernel set and one thread per core.
    pub fn cpu() -> Self {
        Self::Cpu { isa: None, threads: None }
    }

    /// The CPU with `threads` worker threads.
    pub fn cpu_threads(threads: usize) -> Self {
        Self::Cpu { isa: None, threads: Some(threads) }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu { isa, threads } => {
                f.write_str("cpu")?;
                isa.iter().try_for_each(|isa| write!(f, ":{isa}"))?;
                threads.iter().try_for_each(|threads| write!(f, ":{threads}"))
            }
            Self::Gpu(0) => f.write_str("gpu"),
            Self::Gpu(index) => write!(f, "gpu:{index}"),
        }
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let unknown = || {
            let message =
                format!("{text:?} is not a device; use auto, cpu, cpu:ISA, cpu:THREADS, gpu or gpu:INDEX");
            Error::validation("device", message)
        };
        let mut parts = text.split(':');
        let device = match (parts.next(), parts.next(), parts.next()) {
            (Some("auto"), None, None) => Self::Auto,
            (Some("cpu"), None, None) => Self::cpu(),
            (Some("cpu"), Some(threads), None) if is_number(threads) => {
                Self::cpu_threads(threads.parse().map_err(|_| unknown())?)
            }
            (Some("cpu"), Some(isa), threads) if is_name(isa) => {
                let threads = threads.map(|threads| threads.parse().map_err(|_| unknown())).transpose()?;
                Self::Cpu { isa: Some(isa.to_owned()), threads }
            }
            (Some("gpu"), index, None) => Self::Gpu(index.unwrap_or("0").parse().map_err(|_| unknown())?),
            _ => return Err(unknown()),
        };
        if parts.next().is_some() { Err(unknown()) } else { Ok(device) }
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Kernel set names begin with a letter, which distinguishes them from thread counts.
fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_read_as_they_print() {
        let cpu = |isa: Option<&str>, threads| Device::Cpu { isa: isa.map(str::to_owned), threads };
        for (text, device) in [
            ("auto", Device::Auto),
            ("cpu", Device::cpu()),
            ("cpu:avx2", cpu(Some("avx2"), None)),
            ("cpu:avx512-vnni", cpu(Some("avx512-vnni"), None)),
            ("cpu:3", cpu(None, Some(3))),
            ("cpu:scalar:2", cpu(Some("scalar"), Some(2))),
            ("gpu", Device::Gpu(0)),
            ("gpu:1", Device::Gpu(1)),
        ] {
            assert_eq!(text.parse::<Device>().unwrap(), device);
            assert_eq!(device.to_string(), text);
        }
        assert_eq!("gpu:0".parse::<Device>().unwrap(), Device::Gpu(0));
    }

    #[test]
    fn other_words_are_refused_with_those_that_work() {
        for text in [
            "",
            "cuda",
            "cpu:",
            "cpu::2",
            "cpu:avx2:x",
            "cpu:2:avx2",
            "cpu:a:1:2",
            "gpu:",
            "gpu:-1",
            "gpu:0:1",
            "auto:1",
        ] {
            let message = text.parse::<Device>().unwrap_err().to_string();
            assert!(message.contains("gpu:INDEX"), "{text}: {message}");
        }
    }
}
