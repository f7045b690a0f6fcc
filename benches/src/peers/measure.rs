//! Runs the engines of each cell, interleaved.

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
use super::engines::{BASELINE, Engine, OURS, PACKED, READ, packed_dir};
use super::machine::{CpuTime, peak_bytes};
use crate::summary::median;
use crate::synth::{self, Shape};

/// Repeat a measurement if other processes kept this many cores busy.
pub(super) const FOREIGN_LIMIT: f64 = 0.1;
/// Maximum attempts per measurement.
const MAX_TRIES: usize = 3;
/// Pause between measurements, longer than idle threads spin.
const PAUSE: Duration = Duration::from_millis(200);
/// Memory an engine may need, as a multiple of the model's file size: some widen the weights.
const ROOM_PER_FILE: u64 = 5;

/// How to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Counted repetitions.
    pub reps: usize,
    /// Threads of each engine.
    pub n_threads: usize,
    /// The kernel set of this engine; `default` is the machine's best.
    pub isa: String,
    /// The folder with the programs of another build of this engine, if one is measured too.
    pub baseline: Option<PathBuf>,
    /// The names of the peers to run.
    pub peers: Vec<String>,
    /// Folder for models; without it, each is written when needed and then removed.
    pub models: Option<PathBuf>,
}

/// One counted repetition.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Seconds or bytes: less is better.
    pub cost: f64,
    /// Cores that other processes kept busy.
    pub foreign: f64,
    /// The machine's speed just before.
    pub calibration: Calibration,
}

/// An engine's results in a cell.
#[derive(Clone, Debug)]
pub struct Contender {
    /// The engine.
    pub engine: Engine,
    /// Its repetitions, or why it failed.
    pub outcome: Result<Vec<Sample>, String>,
}

/// A cell, measured.
#[derive(Debug)]
pub struct Measurement {
    /// The cell.
    pub cell: Cell,
    /// This engine, then the peers.
    pub contenders: Vec<Contender>,
}

impl Contender {
    /// The median cost.
    pub fn cost(&self) -> Option<f64> {
        let samples = self.outcome.as_ref().ok()?;
        Some(median(samples.iter().map(|sample| sample.cost).collect()))
    }
}

/// Measures `cells` in order and passes each result to `done`.
///
/// # Errors
/// If a model cannot be written. Failures of engines are part of their [`Contender`].
pub fn measure(
    cells: &[Cell],
    options: &Options,
    done: &mut dyn FnMut(Measurement),
) -> Result<(), PeersError> {
    let calibrator = Calibrator::new(options.n_threads);
    for cells in cells.chunk_by(|a, b| a.model == b.model) {
        let file = ModelFile::ready(cells[0].model, options)?;
        // Group cells that can share processes.
        let kind = |cell: &Cell| (cell.test.wants_new_process(), cell.test.n_sequences() > 1);
        for cells in cells.chunk_by(|a, b| kind(a) == kind(b)) {
            let mut turns =
                Turns { options, calibrator: &calibrator, file: &file, cells, running: Vec::new() };
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
    file: &'a ModelFile,
    cells: &'a [Cell],
    /// The most recently used last.
    running: Vec<(Engine, Child)>,
}

impl Turns<'_> {
    fn measure(&mut self, cell: &Cell) -> Measurement {
        let runs = |engine: &Engine| {
            let is_named = || self.options.peers.iter().any(|name| name == engine.name);
            [READ.name, BASELINE.name].contains(&engine.name) || is_named()
        };
        let peers = cell.peers.iter().map(|peer| peer.engine).filter(runs);
        let engines = [OURS].into_iter().chain(peers);
        let mut contenders: Vec<_> =
            engines.map(|engine| Contender { engine, outcome: Ok(Vec::new()) }).collect();
        // Memory does not vary and needs no warm-up.
        let (n_warm_ups, n_counted) = if cell.test == Test::Memory { (0, 1) } else { (1, self.options.reps) };
        let mut order: Vec<usize> = (0..contenders.len()).collect();
        for turn in 0..n_warm_ups + n_counted {
            for &index in &order {
                self.take_turn(&mut contenders[index], cell.test, turn >= n_warm_ups);
            }
            // Whoever comes first finds another machine: after a pause the host has taken memory back, for instance.
            order.reverse();
        }
        Measurement { cell: cell.clone(), contenders }
    }

    /// One repetition of an engine that has not failed.
    fn take_turn(&mut self, contender: &mut Contender, test: Test, is_counted: bool) {
        let Ok(samples) = &mut contender.outcome else { return };
        if is_counted && self.was_ended(contender.engine, test) {
            // It restarted, so warm up again. An error will show in the counted run.
            let _ = self.try_sample(contender.engine, test);
        }
        match self.sample(contender.engine, test) {
            Ok(sample) if is_counted => samples.push(sample),
            Ok(_) => {}
            Err(error) => contender.outcome = Err(error),
        }
    }

    /// One repetition, repeated while other processes keep the machine busy.
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
                let start = Instant::now();
                let before = CpuTime::now(std::process::id());
                let path = &self.file.path;
                let read = if engine == READ { read(path) } else { std::fs::read(path).map(drop) };
                read.map_err(|e| format!("{}: {e}", path.display()))?;
                elapsed(std::process::id(), start, before)
            }
            Test::Load | Test::LoadPacked => {
                let mut load = self.load_request(engine);
                if let Request::Load { setting, .. } = &mut load
                    && engine.is_ours()
                    && test == Test::LoadPacked
                {
                    *setting = PACKED.to_owned();
                }
                let first = Request::Decode { n_tokens: 1, depth: 0, n_sequences: 1 };
                watched(&mut self.start(engine)?, &[load, first])?
            }
            Test::Memory => {
                let mut child = self.start(engine)?;
                let prompt = Request::Prefill { n_tokens: 512 };
                let answer = Request::Decode { n_tokens: 64, depth: 0, n_sequences: 1 };
                watched(&mut child, &[self.load_request(engine), prompt, answer])?;
                // Not affected by other processes.
                (peak_bytes(child.id()).ok_or("process memory is not available on this system")?, 0.0)
            }
        };
        Ok(Sample { cost, foreign, calibration })
    }

    fn start(&self, engine: Engine) -> Result<Child, String> {
        Child::start(engine.command(self.options.baseline.as_deref()).ok_or("it has no process")?)
    }

    /// The engine's process, with the model loaded.
    fn running(&mut self, engine: Engine) -> Result<&mut Child, String> {
        let child = match self.running.iter().position(|(other, _)| *other == engine) {
            Some(index) => self.running.remove(index).1,
            None => {
                self.make_room();
                let mut child = self.start(engine)?;
                child.call(&self.load_request(engine))?;
                child
            }
        };
        self.running.push((engine, child));
        Ok(&mut self.running.last_mut().expect("it was added just now").1)
    }

    /// Whether the test needs the engine's shared process, but it was ended to make room.
    fn was_ended(&self, engine: Engine, test: Test) -> bool {
        !test.wants_new_process() && self.running.iter().all(|(other, _)| *other != engine)
    }

    /// Ends processes, least recently used first, until there is memory for another one plus the file in the page cache.
    fn make_room(&mut self) {
        let file_bytes = std::fs::metadata(&self.file.path).map_or(0, |metadata| metadata.len());
        let has_room =
            || CpuBackend::new().available_bytes().is_none_or(|free| free >= ROOM_PER_FILE * file_bytes);
        while !self.running.is_empty() && !has_room() {
            self.running.remove(0);
        }
    }

    fn load_request(&self, engine: Engine) -> Request {
        let tests = || self.cells.iter().map(|cell| cell.test);
        let setting = if engine.is_ours() { &self.options.isa } else { engine.setting };
        let path = if engine == BASELINE { &self.file.second_path } else { &self.file.path };
        Request::Load {
            model: path.display().to_string(),
            n_threads: self.options.n_threads,
            context_len: tests().map(|test| test.context_len()).max().unwrap_or(1),
            n_sequences: tests().map(|test| test.n_sequences()).max().unwrap_or(1),
            setting: setting.to_owned(),
        }
    }
}

/// The total seconds of `requests`, and the cores kept busy by other processes.
fn watched(child: &mut Child, requests: &[Request]) -> Result<(f64, f64), String> {
    let start = Instant::now();
    let before = CpuTime::now(child.id());
    let mut seconds = 0.0;
    for request in requests {
        seconds += child.call(request)?;
    }
    let (_, foreign) = elapsed(child.id(), start, before);
    Ok((seconds, foreign))
}

/// The seconds since `start`, and the cores kept busy by processes other than `process`.
fn elapsed(process: u32, start: Instant, before: Option<CpuTime>) -> (f64, f64) {
    let seconds = start.elapsed().as_secs_f64();
    let foreign = before.zip(CpuTime::now(process)).map_or(0.0, |(a, b)| a.foreign_until(&b));
    (seconds, foreign / seconds)
}

/// Reads a file sequentially.
fn read(path: &Path) -> std::io::Result<()> {
    let mut file = File::open(path)?;
    let mut part = vec![0; 1 << 20];
    while file.read(&mut part)? > 0 {}
    Ok(())
}

/// A file of random weights, removed on drop unless kept in a folder.
struct ModelFile {
    path: PathBuf,
    /// The same file under another name, for the other build of this engine: packed weights are stored next to the model,
    /// and each build would replace the other's.
    second_path: PathBuf,
    is_kept: bool,
}

impl ModelFile {
    fn ready(model: Model, options: &Options) -> Result<Self, PeersError> {
        let name = format!("{}-{}", model.shape, model.dtype);
        let (stem, is_kept) = match &options.models {
            Some(folder) => (folder.join(name), true),
            None => (std::env::temp_dir().join(format!("sm-{}-{name}", std::process::id())), false),
        };
        let with = |end: &str| PathBuf::from(format!("{}{end}", stem.display()));
        let file = Self { path: with(".gguf"), second_path: with("-baseline.gguf"), is_kept };
        if let Some(folder) = &options.models {
            std::fs::create_dir_all(folder).map_err(PeersError::file(folder))?;
        }
        if !file.path.exists() {
            // An incomplete file must not have the final name.
            let partial = with(".partial");
            write(model, &partial)?;
            std::fs::rename(&partial, &file.path).map_err(PeersError::file(&file.path))?;
        }
        if options.baseline.is_some() {
            // A killed run may have left it behind.
            let _ = std::fs::remove_file(&file.second_path);
            std::fs::hard_link(&file.path, &file.second_path).map_err(PeersError::file(&file.second_path))?;
        }
        Ok(file)
    }
}

fn write(model: Model, path: &Path) -> Result<(), PeersError> {
    let shape =
        Shape::named(model.shape).unwrap_or_else(|| panic!("unknown shape in the table of cells: {model}"));
    Ok(synth::write(path, shape, Mixture::named(model.dtype)?, 1)?)
}

impl Drop for ModelFile {
    fn drop(&mut self) {
        // Usually does not exist.
        let _ = std::fs::remove_dir_all(packed_dir(&self.path));
        let _ = std::fs::remove_dir_all(packed_dir(&self.second_path));
        let _ = std::fs::remove_file(&self.second_path);
        if !self.is_kept {
            // A failure only wastes disk space.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
