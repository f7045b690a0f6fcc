//! The device that runs a model.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// The device that runs a model.
///
/// Reads and prints as on the command line: `auto`, `cpu`, `cpu:avx2` (kernel set), `cpu:4` ([`Threads`]), `cpu:avx2:4`, `gpu`,
/// `gpu:1` (index), `cpu+gpu:0:20` (the last 20 layers on GPU 0).
///
/// ```
/// use sm_runtime::{Device, Threads};
///
/// assert_eq!("cpu:2".parse::<Device>()?, Device::Cpu { isa: None, threads: Threads::AtMost(2) });
/// assert_eq!(Device::cpu().to_string(), "cpu");
/// assert_eq!(Device::default(), Device::Auto);
/// # Ok::<(), sm_runtime::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Device {
    /// The first GPU, if the build supports it and it has room for the model; else the CPU. Software that stands in for a GPU does not
    /// count.
    #[default]
    Auto,
    /// The CPU.
    Cpu {
        /// The kernel set, one of [`kernel_sets`](crate::kernel_sets). By default the fastest the processor supports.
        isa: Option<String>,
        /// Worker threads.
        threads: Threads,
    },
    /// The GPU with this index.
    Gpu(usize),
    /// The last layers of a model on a GPU, the others on the CPU: for models larger than the GPU's memory.
    Split {
        /// As [`Device::Cpu::isa`].
        isa: Option<String>,
        /// As [`Device::Cpu::threads`].
        threads: Threads,
        /// The index of the GPU.
        gpu: usize,
        /// Layers on the GPU. With at least one, what follows the last layer is there too; with all, everything.
        n_gpu_layers: usize,
    },
}

impl Device {
    /// The CPU, with its fastest kernel set and one thread per core.
    pub fn cpu() -> Self {
        Self::Cpu { isa: None, threads: Threads::PerCore }
    }

    /// The CPU with at most `threads` worker threads.
    pub fn cpu_threads(threads: usize) -> Self {
        Self::Cpu { isa: None, threads: Threads::AtMost(threads) }
    }

    /// The number of threads, if one was asked for.
    pub(crate) fn n_threads(&self) -> Option<usize> {
        match self {
            Self::Cpu { threads, .. } | Self::Split { threads, .. } => match threads {
                Threads::AtMost(n_threads) | Threads::Exactly(n_threads) => Some(*n_threads),
                Threads::PerCore => None,
            },
            Self::Auto | Self::Gpu(_) => None,
        }
    }
}

/// How many threads compute a step on the CPU.
///
/// Reads and prints as on the command line: `4` (at most), `4!` (exactly). The number never changes a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Threads {
    /// At most one per physical core.
    #[default]
    PerCore,
    /// At most this many, and no more than the process has processors. Steps use fewer whenever that is faster: for little
    /// work, and while other processes keep cores busy.
    AtMost(usize),
    /// This many in every step, even if there are fewer processors: to measure and to test.
    Exactly(usize),
}

impl fmt::Display for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PerCore => f.write_str("one per core"),
            Self::AtMost(n_threads) => write!(f, "{n_threads}"),
            Self::Exactly(n_threads) => write!(f, "{n_threads}!"),
        }
    }
}

impl FromStr for Threads {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (number, threads): (&str, fn(usize) -> Self) = match text.strip_suffix('!') {
            Some(number) => (number, Self::Exactly),
            None => (text, Self::AtMost),
        };
        match number.parse() {
            Ok(n_threads) if n_threads > 0 => Ok(threads(n_threads)),
            _ => {
                let message = format!(
                    "{text:?} is not a number of threads; use 1 or more, such as 4, or 4! for exactly 4"
                );
                Err(Error::validation("threads", message))
            }
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu { isa, threads } => write_cpu(f, isa.as_deref(), *threads),
            Self::Gpu(0) => f.write_str("gpu"),
            Self::Gpu(index) => write!(f, "gpu:{index}"),
            Self::Split { isa, threads, gpu, n_gpu_layers } => {
                write_cpu(f, isa.as_deref(), *threads)?;
                write!(f, "+gpu:{gpu}:{n_gpu_layers}")
            }
        }
    }
}

fn write_cpu(f: &mut fmt::Formatter<'_>, isa: Option<&str>, threads: Threads) -> fmt::Result {
    f.write_str("cpu")?;
    isa.iter().try_for_each(|isa| write!(f, ":{isa}"))?;
    match threads {
        Threads::PerCore => Ok(()),
        threads => write!(f, ":{threads}"),
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text).ok_or_else(|| {
            let message = format!(
                "{text:?} is not a device; use auto, cpu, cpu:ISA, cpu:THREADS, gpu, gpu:INDEX or cpu+gpu:INDEX:LAYERS"
            );
            Error::validation("device", message)
        })
    }
}

impl Device {
    fn parse(text: &str) -> Option<Self> {
        if let Some((cpu, gpu)) = text.split_once('+') {
            let Self::Cpu { isa, threads } = Self::parse(cpu)? else { return None };
            let (gpu, n_gpu_layers) = gpu.strip_prefix("gpu:")?.split_once(':')?;
            return Some(Self::Split {
                isa,
                threads,
                gpu: gpu.parse().ok()?,
                n_gpu_layers: n_gpu_layers.parse().ok()?,
            });
        }
        let mut parts = text.split(':');
        let device = match (parts.next()?, parts.next(), parts.next()) {
            ("auto", None, None) => Self::Auto,
            ("cpu", None, None) => Self::cpu(),
            ("cpu", Some(threads), None) if !is_name(threads) => {
                Self::Cpu { isa: None, threads: threads.parse().ok()? }
            }
            ("cpu", Some(isa), threads) if is_name(isa) => {
                let threads = threads.map_or(Ok(Threads::PerCore), str::parse).ok()?;
                Self::Cpu { isa: Some(isa.to_owned()), threads }
            }
            ("gpu", index, None) => Self::Gpu(index.unwrap_or("0").parse().ok()?),
            _ => return None,
        };
        parts.next().is_none().then_some(device)
    }
}

/// Names of kernel sets begin with a letter, which tells them from numbers of threads.
fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_read_as_they_print() {
        use Threads::{AtMost, Exactly, PerCore};
        let cpu = |isa: Option<&str>, threads| Device::Cpu { isa: isa.map(str::to_owned), threads };
        let split = |isa: Option<&str>, threads, gpu, n_gpu_layers| Device::Split {
            isa: isa.map(str::to_owned),
            threads,
            gpu,
            n_gpu_layers,
        };
        for (text, device) in [
            ("auto", Device::Auto),
            ("cpu", Device::cpu()),
            ("cpu:avx2", cpu(Some("avx2"), PerCore)),
            ("cpu:avx512-vnni", cpu(Some("avx512-vnni"), PerCore)),
            ("cpu:3", cpu(None, AtMost(3))),
            ("cpu:scalar:2", cpu(Some("scalar"), AtMost(2))),
            ("cpu:8!", cpu(None, Exactly(8))),
            ("gpu", Device::Gpu(0)),
            ("gpu:1", Device::Gpu(1)),
            ("cpu+gpu:0:20", split(None, PerCore, 0, 20)),
            ("cpu:avx2:3!+gpu:1:0", split(Some("avx2"), Exactly(3), 1, 0)),
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
            "cpu:0",
            "cpu:2!!",
            "cpu:avx2:x",
            "cpu+gpu",
            "cpu+gpu:0",
            "cpu+gpu:0:x",
            "gpu+gpu:0:1",
            "cpu+cpu:0:1",
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
