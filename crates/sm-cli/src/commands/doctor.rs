//! `sm doctor`: the machine's capabilities, and how models would run on it.

mod machine;

use serde::Serialize;
use sm_runtime::Gpu;

use crate::commands::doctor::machine::{Cpu, Memory};
use crate::console::Console;
use crate::failure::Failure;

/// Show CPU features, memory, GPU support, and how models would run
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sm doctor
  sm doctor --gpu-test
  sm doctor --json")]
pub(crate) struct Args {
    /// Also test every kernel of every GPU: some seconds for each
    #[arg(long)]
    gpu_test: bool,
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
    /// What each of them offers.
    gpu_capabilities: Vec<String>,
    /// What `--gpu-test` found, now or in an earlier run, one for each GPU.
    gpu_test: Vec<String>,
    #[serde(skip)]
    gpu_error: Option<sm_runtime::Error>,
    would_run: String,
}

/// Prints the report.
///
/// # Errors
/// If stdout is closed or fails, or a GPU fails its test.
pub(crate) fn run(args: &Args, console: &Console) -> Result<(), Failure> {
    let report = Report::collect(args.gpu_test);
    let printed = if args.json { console.json(&report) } else { console.piece(&report.text()) };
    printed.and_then(|()| report.gpu_error.map_or(Ok(()), |error| Err(Failure::Engine(error))))
}

/// What this build says of GPUs, by their indices.
fn names(gpus: Option<&[Gpu]>) -> String {
    match gpus {
        None => "built without GPU support".to_owned(),
        Some([]) => "none found".to_owned(),
        Some(gpus) => of_each(gpus, |gpu| gpu.name.clone()).join("; "),
    }
}

fn of_each(gpus: &[Gpu], text: impl Fn(&Gpu) -> String) -> Vec<String> {
    gpus.iter().enumerate().map(|(index, gpu)| format!("{index}: {}", text(gpu))).collect()
}

/// Tests so many GPUs; and the first error.
fn test(n_gpus: usize) -> (Vec<String>, Option<sm_runtime::Error>) {
    let mut first_error = None;
    let test = |index| match sm_runtime::test_gpu(index) {
        Ok(n_values) => format!("{index}: {n_values} values of all kernels are right"),
        Err(error) => {
            let found = format!("{index}: {error}");
            first_error.get_or_insert(error);
            found
        }
    };
    ((0..n_gpus).map(test).collect(), first_error)
}

/// What earlier tests found.
fn tested(gpu: &Gpu) -> String {
    match gpu.tested {
        Some(n_values) => format!("{n_values} values of all kernels were right"),
        None => "not tested with this driver; --gpu-test does, and so does the first model".to_owned(),
    }
}

fn capabilities(gpu: &Gpu) -> String {
    match &gpu.matrices_error {
        None => gpu.capabilities.clone(),
        Some(error) => format!("{}; matrices are not used: {error}", gpu.capabilities),
    }
}

impl Report {
    fn collect(tests_gpus: bool) -> Self {
        let cpu = Cpu::detect();
        let kernels = sm_runtime::kernel_sets();
        let tests = tests_gpus.then(|| test(sm_runtime::gpus().map_or(0, |gpus| gpus.len())));
        // After the tests, of which results are kept.
        let gpus = sm_runtime::gpus();
        let found = gpus.as_deref().unwrap_or_default();
        let (gpu_test, gpu_error) = tests.unwrap_or_else(|| (of_each(found, tested), None));
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
            gpu: names(gpus.as_deref()),
            gpu_capabilities: of_each(found, capabilities),
            gpu_test,
            gpu_error,
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
        ];
        let offers = self.gpu_capabilities.iter().map(|offer| ("gpu offers", offer.clone()));
        let tests = self.gpu_test.iter().map(|found| ("gpu test", found.clone()));
        let last = ("would run", self.would_run.clone());
        rows.into_iter()
            .chain(offers)
            .chain(tests)
            .chain([last])
            .map(|(name, value)| format!("{name:<11} {value}\n"))
            .collect()
    }
}
