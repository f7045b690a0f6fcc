//! The runs: engines of a cell take turns.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sm_kernels::CpuBackend;
use sm_kernels::plan::Backend as _;
use sm_model::Mixture;

use super::PeersError;
use super::calibrate::{Calibration, Calibrator};
use super::cells::{Cell, Model, Test};
use super::child::{Child, Request};
use super::engines::{Engine, OURS, PACKED, READ, packed_dir};
use super::machine::{CpuTime, peak_bytes};
use crate::summary::median;
use crate::synth::{self, Shape};

/// Cores' worth of other work beside a measurement from which it is made again.
pub(super) const FOREIGN_LIMIT: f64 = 0.1;
/// How often, at most.
const MAX_TRIES: usize = 3;
/// Between measurements: threads that wait for work spin this long at most.
const PAUSE: Duration = Duration::from_millis(200);
/// Free memory that an engine may need, as a multiple of the model's file: some hold the weights widened.
const ROOM_PER_FILE: u64 = 5;

/// How to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Counted repetitions.
    pub reps: usize,
    /// Threads of each engine.
    pub n_threads: usize,
    /// The kernel set of this engine; `default` is the best of the machine.
    pub isa: String,
    /// The names of the peers that run.
    pub peers: Vec<String>,
    /// A folder where models are kept; without it they are written when they are needed, and removed after.
    pub models: Option<PathBuf>,
}

/// One counted repetition.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Seconds, or bytes: less is better.
    pub cost: f64,
    /// How many cores were busy with other things.
    pub foreign: f64,
    /// The machine just before.
    pub calibration: Calibration,
}

/// What an engine did in a cell.
#[derive(Clone, Debug)]
pub struct Contender {
    /// The engine.
    pub engine: Engine,
    /// Its repetitions, or why there are none.
    pub outcome: Result<Vec<Sample>, String>,
}

/// A cell, measured.
#[derive(Debug)]
pub struct Measurement {
    /// The cell.
    pub cell: Cell,
    /// This engine, then the peers in their order.
    pub contenders: Vec<Contender>,
}

impl Contender {
    /// The median cost.
    pub fn cost(&self) -> Option<f64> {
        let samples = self.outcome.as_ref().ok()?;
        Some(median(samples.iter().map(|sample| sample.cost).collect()))
    }
}

/// Measures cells in their order and hands each one over when it is done.
///
/// # Errors
/// If a model cannot be written. What an engine cannot do is part of its [`Contender`].
pub fn measure(
    cells: &[Cell],
    options: &Options,
    done: &mut dyn FnMut(Measurement),
) -> Result<(), PeersError> {
    let calibrator = Calibrator::new(options.n_threads);
    for cells in cells.chunk_by(|a, b| a.model == b.model) {
        let file = ModelFile::ready(cells[0].model, options.models.as_deref())?;
        // Processes stay for the cells that can share them.
        let kind = |cell: &Cell| (cell.test.wants_new_process(), cell.test.n_sequences() > 1);
        for cells in cells.chunk_by(|a, b| kind(a) == kind(b)) {
            let mut turns =
                Turns { options, calibrator: &calibrator, file: &file.path, cells, running: Vec::new() };
            for cell in cells {
                done(turns.measure(cell));
            }
        }
    }
    Ok(())
}

/// Cells that share processes.
struct Turns<'a> {
    options: &'a Options,
    calibrator: &'a Calibrator,
    file: &'a Path,
    cells: &'a [Cell],
    /// The one used last is the last.
    running: Vec<(Engine, Child)>,
}

impl Turns<'_> {
    fn measure(&mut self, cell: &Cell) -> Measurement {
        let runs = |engine: &Engine| {
            engine.name == READ.name || self.options.peers.iter().any(|name| name == engine.name)
        };
        let peers = cell.peers.iter().map(|peer| peer.engine).filter(runs);
        let engines = [OURS].into_iter().chain(peers);
        let mut contenders: Vec<_> =
            engines.map(|engine| Contender { engine, outcome: Ok(Vec::new()) }).collect();
        // Memory neither varies nor needs a warm-up.
        let (n_warm_ups, n_counted) = if cell.test == Test::Memory { (0, 1) } else { (1, self.options.reps) };
        for turn in 0..n_warm_ups + n_counted {
            for contender in &mut contenders {
                let Ok(samples) = &mut contender.outcome else { continue };
                if turn >= n_warm_ups && self.was_ended(contender.engine, cell.test) {
                    // It starts again, and so warms up again; what is wrong shows in what counts.
                    let _ = self.try_sample(contender.engine, cell.test);
                }
                match self.sample(contender.engine, cell.test) {
                    Ok(sample) if turn >= n_warm_ups => samples.push(sample),
                    Ok(_) => {}
                    Err(error) => contender.outcome = Err(error),
                }
            }
        }
        Measurement { cell: cell.clone(), contenders }
    }

    /// One repetition, made again while something else keeps the machine busy.
    fn sample(&mut self, engine: Engine, test: Test) -> Result<Sample, String> {
        let mut best: Option<Sample> = None;
        for _ in 0..MAX_TRIES {
            std::thread::sleep(PAUSE);
            let sample = self.try_sample(engine, test)?;
            if best.is_none_or(|best| sample.foreign < best.foreign) {
                best = Some(sample);
            }
            if sample.foreign < FOREIGN_LIMIT {
                break;
            }
        }
        best.ok_or_else(|| "was not tried".to_owned())
    }

    fn try_sample(&mut self, engine: Engine, test: Test) -> Result<Sample, String> {
        let calibration = self.calibrator.run();
        let (cost, foreign) = match test {
            Test::Prefill { n_tokens } => watched(self.running(engine)?, &[Request::Prefill { n_tokens }])?,
            Test::Decode { n_tokens, depth, n_sequences } => {
                watched(self.running(engine)?, &[Request::Decode { n_tokens, depth, n_sequences }])?
            }
            Test::Load | Test::LoadPacked if engine.name == READ.name => {
                let (start, before) = (Instant::now(), CpuTime::now(std::process::id()));
                let read = if engine == READ { read(self.file) } else { std::fs::read(self.file).map(drop) };
                read.map_err(|e| format!("{}: {e}", self.file.display()))?;
                elapsed(std::process::id(), start, before)
            }
            Test::Load | Test::LoadPacked => {
                let mut load = self.load_request(engine);
                if let (OURS, Test::LoadPacked, Request::Load { setting, .. }) = (engine, test, &mut load) {
                    *setting = PACKED.to_owned();
                }
                let first = Request::Decode { n_tokens: 1, depth: 0, n_sequences: 1 };
                watched(&mut Child::start(engine)?, &[load, first])?
            }
            Test::Memory => {
                let mut child = Child::start(engine)?;
                let prompt = Request::Prefill { n_tokens: 512 };
                let answer = Request::Decode { n_tokens: 64, depth: 0, n_sequences: 1 };
                watched(&mut child, &[self.load_request(engine), prompt, answer])?;
                // Other work does not change it.
                (peak_bytes(child.id()).ok_or("the system does not tell the memory of a process")?, 0.0)
            }
        };
        Ok(Sample { cost, foreign, calibration })
    }

    /// The engine's process, with the model loaded.
    fn running(&mut self, engine: Engine) -> Result<&mut Child, String> {
        let child = match self.running.iter().position(|(other, _)| *other == engine) {
            Some(index) => self.running.remove(index).1,
            None => {
                self.make_room();
                let mut child = Child::start(engine)?;
                child.call(&self.load_request(engine))?;
                child
            }
        };
        self.running.push((engine, child));
        Ok(&mut self.running.last_mut().expect("it was added just now").1)
    }

    /// Whether the test runs in a process that has to make way for others and has ended.
    fn was_ended(&self, engine: Engine, test: Test) -> bool {
        !test.wants_new_process() && self.running.iter().all(|(other, _)| *other != engine)
    }

    /// Ends processes, those used longest ago first, until there is room for another and for the file that all of them read.
    fn make_room(&mut self) {
        let file_bytes = std::fs::metadata(self.file).map_or(0, |metadata| metadata.len());
        let has_room =
            || CpuBackend::new().available_bytes().is_none_or(|free| free >= ROOM_PER_FILE * file_bytes);
        while !self.running.is_empty() && !has_room() {
            self.running.remove(0);
        }
    }

    fn load_request(&self, engine: Engine) -> Request {
        let tests = || self.cells.iter().map(|cell| cell.test);
        let setting = if engine == OURS { &self.options.isa } else { engine.setting };
        Request::Load {
            model: self.file.display().to_string(),
            n_threads: self.options.n_threads,
            context_len: tests().map(|test| test.context_len()).max().unwrap_or(1),
            n_sequences: tests().map(|test| test.n_sequences()).max().unwrap_or(1),
            setting: setting.to_owned(),
        }
    }
}

/// The seconds of requests together, and how many cores were busy with other things meanwhile.
fn watched(child: &mut Child, requests: &[Request]) -> Result<(f64, f64), String> {
    let (start, before) = (Instant::now(), CpuTime::now(child.id()));
    let mut seconds = 0.0;
    for request in requests {
        seconds += child.call(request)?;
    }
    let (_, foreign) = elapsed(child.id(), start, before);
    Ok((seconds, foreign))
}

/// The seconds since `start`, and how many cores were busy with other things than the process.
fn elapsed(process: u32, start: Instant, before: Option<CpuTime>) -> (f64, f64) {
    let seconds = start.elapsed().as_secs_f64();
    let foreign = before.zip(CpuTime::now(process)).map_or(0.0, |(a, b)| a.foreign_until(&b));
    (seconds, foreign / seconds)
}

/// Reads a file from one end to the other.
fn read(path: &Path) -> std::io::Result<()> {
    let (mut file, mut part) = (File::open(path)?, vec![0; 1 << 20]);
    while file.read(&mut part)? > 0 {}
    Ok(())
}

/// A file of random weights, removed in the end unless a folder keeps it.
struct ModelFile {
    path: PathBuf,
    is_kept: bool,
}

impl ModelFile {
    fn ready(model: Model, folder: Option<&Path>) -> Result<Self, PeersError> {
        let name = format!("{}-{}.gguf", model.shape, model.dtype);
        let Some(folder) = folder else {
            let path = std::env::temp_dir().join(format!("sm-{}-{name}", std::process::id()));
            let file = Self { path, is_kept: false };
            write(model, &file.path)?;
            return Ok(file);
        };
        std::fs::create_dir_all(folder).map_err(PeersError::file(folder))?;
        let file = Self { path: folder.join(name), is_kept: true };
        if !file.path.exists() {
            // Under its name only when it is whole.
            let partial = file.path.with_extension("partial");
            write(model, &partial)?;
            std::fs::rename(&partial, &file.path).map_err(PeersError::file(&file.path))?;
        }
        Ok(file)
    }
}

fn write(model: Model, path: &Path) -> Result<(), PeersError> {
    let shape = Shape::named(model.shape).unwrap_or_else(|| panic!("a cell names no shape: {model}"));
    Ok(synth::write(path, shape, Mixture::named(model.dtype)?, 1)?)
}

impl Drop for ModelFile {
    fn drop(&mut self) {
        // It is there only if loading from it was measured.
        let _ = std::fs::remove_dir_all(packed_dir(&self.path));
        if !self.is_kept {
            // Left behind, it costs only disk.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
