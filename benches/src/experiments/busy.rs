//! Speed beside other processes, and on fewer processors than threads.
//!
//! Each engine runs in its own process; the settings take turns under the same load. Rates are of all repetitions together:
//! on a busy machine a few slow ones are what a user notices.

use std::path::Path;
use std::process::{Child as Process, Command, Stdio};

use sm_tensor::DType;

use super::{Bound, ExperimentError, Finding, Goal, RandomModel};
use crate::peers::{Child, DEFAULT_THREADS, Engine, FIXED, LLAMA, OURS, Request};
use crate::synth::Shape;

/// The argument with which a program of this package calls [`spin`] and nothing else.
pub const SPIN: &str = "--spin";

/// Keeps a processor busy until the process is killed.
pub fn spin() {
    while std::hint::black_box(true) {}
}

/// Runs the experiment on the demo model, and on 135 million and 1.1 billion random weights in Q4_0; with llama.cpp beside
/// it if `with_peers`.
///
/// # Errors
/// If a model cannot be written, or an engine fails.
pub fn run(reps: usize, with_peers: bool) -> Result<Vec<Finding>, ExperimentError> {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/sm-demo-model/demo.gguf");
    // Its answers take but milliseconds: less than a time slice, so that few of them are luck.
    let mut findings = table("demo model", &demo, 256, 8 * reps, with_peers)?;
    for (name, n_tokens) in [("smollm2-135m", 64), ("llama-1.1b", 16)] {
        let Some(shape) = Shape::named(name) else { continue };
        let model = RandomModel::write(shape, DType::Q4_0)?;
        findings.extend(table(name, model.path(), n_tokens, reps, with_peers)?);
    }
    Ok(findings)
}

/// What else the machine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    /// Nothing, or processes that spin.
    Processes(usize),
    /// The engine may use one processor only.
    OneProcessor,
}

impl Load {
    fn name(self) -> String {
        match self {
            Self::Processes(0) => "quiet".to_owned(),
            Self::Processes(1) => "beside 1 busy process".to_owned(),
            Self::Processes(n) => format!("beside {n} busy processes"),
            Self::OneProcessor => "on one processor".to_owned(),
        }
    }
}

/// Processes that spin until they are dropped.
struct Spinners(Vec<Process>);

impl Spinners {
    fn start(n_processes: usize) -> Result<Self, ExperimentError> {
        let mut spinners = Self(Vec::new());
        for _ in 0..n_processes {
            let program = std::env::current_exe().map_err(|error| failed("a spinner", &error))?;
            let process = Command::new(program).arg(SPIN).stdin(Stdio::null()).spawn();
            spinners.0.push(process.map_err(|error| failed("a spinner", &error))?);
        }
        Ok(spinners)
    }
}

impl Drop for Spinners {
    fn drop(&mut self) {
        for process in &mut self.0 {
            // It may have been killed already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn failed(what: &str, reason: &dyn std::fmt::Display) -> ExperimentError {
    ExperimentError::Engine { what: what.to_owned(), reason: reason.to_string() }
}

/// An engine with a number of threads.
struct Setting {
    name: String,
    engine: Engine,
    child: Child,
    prefill: f64,
    decode: f64,
}

impl Setting {
    fn start(engine: Engine, n_threads: usize, model: &Path, load: Load) -> Result<Self, ExperimentError> {
        let name = match n_threads {
            DEFAULT_THREADS => format!("{engine}, default threads"),
            n => format!("{engine}, -t {n}"),
        };
        let program = engine.command(None).ok_or_else(|| failed(&name, &"it has no program"))?;
        let mut command = if load == Load::OneProcessor { on_one_processor(&program) } else { program };
        command.stderr(Stdio::inherit());
        let mut child = Child::start(command).map_err(|error| failed(&name, &error))?;
        let load = Request::Load {
            model: model.display().to_string(),
            n_threads,
            context_len: 512,
            n_sequences: 1,
            setting: engine.setting.to_owned(),
        };
        child.call(&load).map_err(|error| failed(&name, &error))?;
        Ok(Self { name, engine, child, prefill: 0.0, decode: 0.0 })
    }

    fn measure(&mut self, n_tokens: usize) -> Result<(), ExperimentError> {
        let Self { name, child, .. } = self;
        let mut call = |request: &Request| child.call(request).map_err(|error| failed(name, &error));
        self.prefill += call(&Request::Prefill { n_tokens: PROMPT })?;
        self.decode += call(&Request::Decode { n_tokens, depth: 0, n_sequences: 1 })?;
        Ok(())
    }
}

/// Tokens of a prompt.
const PROMPT: usize = 128;

fn on_one_processor(program: &Command) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(program.get_program()).args(program.get_args());
    let set = program.get_envs().filter_map(|(name, value)| value.map(|value| (name, value)));
    command.envs(set);
    command
}

fn table(
    name: &str,
    model: &Path,
    n_tokens: usize,
    reps: usize,
    with_peers: bool,
) -> Result<Vec<Finding>, ExperimentError> {
    let loads = [Load::Processes(0), Load::Processes(1), Load::Processes(2), Load::OneProcessor];
    let mut findings = Vec::new();
    for load in loads {
        let mut settings = settings(load, model, with_peers)?;
        let n_spinners = if let Load::Processes(n) = load { n } else { 0 };
        // Models are loaded before, since that is not what is measured.
        let _spinners = Spinners::start(n_spinners)?;
        settings.iter_mut().try_for_each(|setting| setting.measure(n_tokens))?;
        for setting in &mut settings {
            (setting.prefill, setting.decode) = (0.0, 0.0);
        }
        for _ in 0..reps {
            settings.iter_mut().try_for_each(|setting| setting.measure(n_tokens))?;
        }
        let load = load.name();
        let of_prefill: Vec<_> = settings.iter().map(|s| (s, (PROMPT * reps) as f64 / s.prefill)).collect();
        findings.push(finding(format!("Busy: {name}, {load}, prompt of {PROMPT}"), &of_prefill));
        let of_decode: Vec<_> = settings.iter().map(|s| (s, (n_tokens * reps) as f64 / s.decode)).collect();
        findings.push(finding(format!("Busy: {name}, {load}, {n_tokens} generated tokens"), &of_decode));
    }
    Ok(findings)
}

/// The first is what users get; it is compared with the others of this engine.
fn settings(load: Load, model: &Path, with_peers: bool) -> Result<Vec<Setting>, ExperimentError> {
    let n_cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut wanted = match load {
        Load::OneProcessor => vec![(OURS, 4), (FIXED, 1)],
        Load::Processes(_) => vec![(OURS, DEFAULT_THREADS), (FIXED, 1), (FIXED, n_cores)],
    };
    if with_peers {
        wanted.push((LLAMA, if load == Load::OneProcessor { 4 } else { n_cores }));
    }
    wanted.into_iter().map(|(engine, n_threads)| Setting::start(engine, n_threads, model, load)).collect()
}

fn finding(what: String, rates: &[(&Setting, f64)]) -> Finding {
    let own = rates[1..].iter().filter(|(setting, _)| setting.engine == FIXED);
    let best = own.map(|(_, rate)| *rate).fold(0.0, f64::max);
    let each = rates.iter().map(|(setting, rate)| format!("{} {rate:.1} tok/s", setting.name));
    Finding {
        what,
        measured: format!(
            "{:.2} of the best fixed number of threads; {}",
            rates[0].1 / best,
            each.collect::<Vec<_>>().join("; ")
        ),
        claim: "the documents do not speak of it".to_owned(),
        goals: vec![Goal { ratio: rates[0].1 / best, bound: Bound::AtLeast(0.9) }],
    }
}
