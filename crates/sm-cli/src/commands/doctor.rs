//! `sm doctor`: the machine's capabilities, and how models would run on it.

mod machine;

use serde::Serialize;

use crate::commands::doctor::machine::{Cpu, Memory};
use crate::console::Console;
use crate::failure::Failure;

/// Show CPU features, memory, GPU support, and how models would run
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sm doctor
  sm doctor --json")]
pub(crate) struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    platform: String,
    cpu: Cpu,
    /// The kernel sets that this machine can run, fastest last.
    kernels: Vec<&'static str>,
    memory: Memory,
    /// The GPUs that `--device gpu:INDEX` can choose.
    gpu: String,
    would_run: String,
}

/// Prints the report.
///
/// # Errors
/// If stdout is closed or fails.
pub(crate) fn run(args: &Args, console: &Console) -> Result<(), Failure> {
    let report = Report::collect();
    if args.json { console.json(&report) } else { console.piece(&report.text()) }
}

fn gpu() -> String {
    let Some(gpus) = sm_runtime::gpus() else { return "built without GPU support".to_owned() };
    if gpus.is_empty() {
        return "none found".to_owned();
    }
    gpus.iter().enumerate().map(|(index, gpu)| format!("{index}: {gpu}")).collect::<Vec<_>>().join("; ")
}

impl Report {
    fn collect() -> Self {
        let cpu = Cpu::detect();
        let kernels = sm_runtime::kernel_sets();
        let would_run = match kernels.last() {
            Some(best) => format!(
                "models run on the CPU with {} threads and {best} kernels (change with -t and --isa)",
                cpu.cores
            ),
            None => "models cannot run: this build has no backend; build with the feature cpu".to_owned(),
        };
        Self {
            version: env!("CARGO_PKG_VERSION"),
            platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            cpu,
            kernels,
            memory: Memory::detect(),
            gpu: gpu(),
            would_run,
        }
    }

    fn text(&self) -> String {
        let rows = [
            ("version", format!("{} on {}", self.version, self.platform)),
            ("cpu", self.cpu.to_string()),
            ("features", self.cpu.features.join(" ")),
            ("kernels", self.kernels.join(" ")),
            ("memory", self.memory.to_string()),
            ("huge pages", self.memory.huge_pages.clone().unwrap_or_else(|| "unknown".to_owned())),
            ("gpu", self.gpu.clone()),
            ("would run", self.would_run.clone()),
        ];
        rows.iter().map(|(name, value)| format!("{name:<11} {value}\n")).collect()
    }
}
