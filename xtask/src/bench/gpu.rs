//! `cargo xtask bench --gpu`: figures of the first GPU, in at most eight minutes, with programs that were built before, into a folder.
//!
//! A GPU that is lent for minutes is not kept waiting for compilers. Software that stands in for one gets tiny sizes, which show that
//! everything runs. What does not fit into the time is named.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::spawn::{command, output, target};

/// For everything.
const TIME: Duration = Duration::from_mins(8);

/// What a run of nothing still leaves for the next.
const LEAST: Duration = Duration::from_secs(5);

const BUILD: &str = "cargo build --release -p sm-cli -p sm-benches --bins --features sm-cli/gpu";

/// Models of real shapes, the most telling first: name, shape and type.
const MODELS: [(&str, &str, &str); 4] = [
    ("1.1b-q4_0", "llama-1.1b", "q4_0"),
    ("1.1b-q8_0", "llama-1.1b", "q8_0"),
    ("1.1b-f16", "llama-1.1b", "f16"),
    ("3b-q4_0", "llama-3.2-3b", "q4_0"),
];

const RATES: [&str; 8] = ["-p", "512", "-n", "64", "-d", "128,8192", "-b", "1,32"];
const TINY_RATES: [&str; 8] = ["-p", "32", "-n", "4", "-d", "16", "-b", "1,4"];

/// Runs everything; `args` are the folder for the results and options: `--sm PROGRAM`, `--llama-bench PROGRAM`, which measures the same
/// files by llama.cpp.
pub(super) fn run(args: &[String]) -> Outcome {
    let mut run = Run::new(args)?;
    let found = run.doctor()?;
    println!("{found}");
    if found.contains("software") {
        run.measure("demo", Path::new("demo"), &TINY_RATES);
    } else {
        for (name, shape, dtype) in MODELS {
            if let Some(model) = run.write_model(name, shape, dtype) {
                run.measure(name, &model, &RATES);
                run.compare(name, &model);
            }
        }
    }
    run.finish(&found)
}

/// A program that was built in release mode.
fn built(name: &str) -> PathBuf {
    target().join("release").join(name).with_extension(std::env::consts::EXE_EXTENSION)
}

struct Run {
    began: Instant,
    folder: PathBuf,
    sm: PathBuf,
    llama_bench: Option<PathBuf>,
    summary: String,
    n_failed: usize,
}

impl Run {
    fn new(args: &[String]) -> Result<Self, String> {
        let mut folder = target().join("gpu-bench");
        let (mut sm, mut llama_bench) = (built("sm"), None);
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut path = || args.next().map(PathBuf::from).ok_or_else(|| format!("{arg} needs a program"));
            match arg.as_str() {
                "--sm" => sm = path()?,
                "--llama-bench" => llama_bench = Some(path()?),
                option if option.starts_with('-') => return Err(format!("unknown option {option}")),
                given => folder = PathBuf::from(given),
            }
        }
        if !sm.is_file() {
            return Err(format!("{} is not there; build it first: {BUILD}", sm.display()));
        }
        let folder = std::path::absolute(&folder).map_err(|error| error.to_string())?;
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Self { began: Instant::now(), folder, sm, llama_bench, summary: String::new(), n_failed: 0 })
    }

    /// The first GPU, as the program names it, once its kernels are tested.
    fn doctor(&mut self) -> Result<String, String> {
        let doctor = |args: &[&str]| self.sm(args);
        let report = output(&mut doctor(&["doctor", "--json"]))?;
        let report: serde_json::Value = serde_json::from_str(&report).map_err(|error| error.to_string())?;
        let gpus = report["gpu"].as_str().unwrap_or_default().to_owned();
        if !gpus.starts_with("0: ") {
            return Err(format!("no GPU to measure: {gpus}; if the build lacks them: {BUILD}"));
        }
        let test = doctor(&["doctor", "--gpu-test"]);
        self.step("doctor", test);
        Ok(gpus.split("; ").next().unwrap_or_default().to_owned())
    }

    /// Rates as JSON, and the time of each operation.
    fn measure(&mut self, name: &str, model: &Path, rates: &[&str]) {
        let model = model.to_string_lossy();
        let bench = |run: &Self, more: &[&str]| {
            let mut command = run.sm(&["bench", "-m", &model, "--device", "gpu", "-r", "2"]);
            command.args(rates).args(more);
            command
        };
        let rates = bench(self, &["-o", "json"]);
        self.step(&format!("{name}.rates"), rates);
        let profile = bench(self, &["--profile"]);
        self.step(&format!("{name}.profile"), profile);
    }

    /// The same file by llama.cpp.
    fn compare(&mut self, name: &str, model: &Path) {
        let Some(program) = &self.llama_bench else { return };
        let mut command = command(&program.to_string_lossy(), &["-ngl", "99", "-r", "2", "-o", "json", "-m"]);
        command.arg(model).args(&RATES[..6]);
        self.step(&format!("{name}.llama-bench"), command);
    }

    fn write_model(&mut self, name: &str, shape: &str, dtype: &str) -> Option<PathBuf> {
        let path = self.folder.join(format!("{name}.gguf"));
        if path.is_file() {
            return Some(path);
        }
        let synth = built("synth");
        let mut write = command(&synth.to_string_lossy(), &["--shape", shape, "--type", dtype, "--out"]);
        write.arg(&path);
        if self.step(&format!("{name}.synth"), write) {
            return Some(path);
        }
        // Half a model is none. It may not have been begun.
        let _ = fs::remove_file(&path);
        None
    }

    fn sm(&self, args: &[&str]) -> Command {
        command(&self.sm.to_string_lossy(), args)
    }

    /// Runs a command into files of the folder for as long as there is time; whether it succeeded.
    fn step(&mut self, name: &str, mut command: Command) -> bool {
        let left = TIME.saturating_sub(self.began.elapsed());
        let began = Instant::now();
        let ended = if left < LEAST {
            Ok("not run: no time is left".to_owned())
        } else {
            self.wait(name, &mut command, left)
        };
        let ended = ended.unwrap_or_else(|error| error);
        let line = format!("{name}: {ended}, {:.1} s", began.elapsed().as_secs_f32());
        println!("{line}");
        // Writing to a string cannot fail.
        let _ = writeln!(self.summary, "{line}");
        let is_right = ended == "done";
        self.n_failed += usize::from(!is_right);
        is_right
    }

    fn wait(&self, name: &str, command: &mut Command, at_most: Duration) -> Result<String, String> {
        let file = |ending: &str| {
            let path = self.folder.join(format!("{name}.{ending}"));
            File::create(&path).map(Stdio::from).map_err(|error| format!("{}: {error}", path.display()))
        };
        let began = Instant::now();
        let child = command.stdout(file("out")?).stderr(file("log")?).stdin(Stdio::null()).spawn();
        let mut child = child.map_err(|error| format!("cannot start: {error}"))?;
        loop {
            match child.try_wait().map_err(|error| error.to_string())? {
                Some(status) if status.success() => return Ok("done".to_owned()),
                Some(status) => return Ok(format!("failed ({status}); see {name}.log")),
                None if began.elapsed() > at_most => {
                    child.kill().and_then(|()| child.wait()).map_err(|error| error.to_string())?;
                    return Ok("stopped: no time is left".to_owned());
                }
                None => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    fn finish(self, gpu: &str) -> Outcome {
        let text = format!("{gpu}\n{}total: {:.0} s\n", self.summary, self.began.elapsed().as_secs_f32());
        let path = self.folder.join("summary.txt");
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        println!("results are in {}", self.folder.display());
        if self.n_failed == 0 { Ok(()) } else { Err(format!("{} steps are without result", self.n_failed)) }
    }
}
