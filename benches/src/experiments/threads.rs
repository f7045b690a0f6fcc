//! Speed by number of worker threads, up to the number of cores.

use std::time::Instant;

use sm_runtime::{Device, Engine, LoadOptions, ModelRef};
use sm_tensor::DType;

use super::batching::{self, N_REQUESTS, N_TOKENS, one_by_one, together};
use super::{DOCUMENTS, ExperimentError, Finding, RandomModel};
use crate::summary::median;
use crate::synth::Shape;

/// Runs the experiment on the demo model and on 135 million random weights in Q4_0.
///
/// # Errors
/// If a model cannot be written or run.
pub fn run(reps: usize) -> Result<Vec<Finding>, ExperimentError> {
    let shape = Shape::named("smollm2-135m").unwrap_or(&DOCUMENTS);
    let model = RandomModel::write(shape, DType::Q4_0)?;
    let mut findings = curve("demo model", &ModelRef::Demo, reps)?;
    findings.extend(curve("30 layers, 576 wide, q4_0", &model.path().into(), reps)?);
    Ok(findings)
}

/// An engine, and the seconds that the requests took.
#[derive(Debug)]
struct Threads {
    engine: Engine,
    one_by_one: Vec<f64>,
    together: Vec<f64>,
}

impl Threads {
    fn new(model: &ModelRef, n_threads: usize) -> Result<Self, ExperimentError> {
        let load = LoadOptions::new().device(Device::cpu_threads(n_threads));
        let engine = Engine::builder().config(batching::config().load(load)).load(model.clone())?;
        one_by_one(&engine)?;
        together(&engine)?;
        Ok(Self { engine, one_by_one: Vec::new(), together: Vec::new() })
    }

    fn measure(&mut self) -> Result<(), ExperimentError> {
        let start = Instant::now();
        one_by_one(&self.engine)?;
        self.one_by_one.push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        together(&self.engine)?;
        self.together.push(start.elapsed().as_secs_f64());
        Ok(())
    }
}

fn curve(name: &str, model: &ModelRef, reps: usize) -> Result<Vec<Finding>, ExperimentError> {
    let n_threads = thread_counts(std::thread::available_parallelism().map_or(1, usize::from));
    let mut engines =
        n_threads.iter().map(|n| Threads::new(model, *n)).collect::<Result<Vec<Threads>, _>>()?;
    for _ in 0..reps {
        engines.iter_mut().try_for_each(Threads::measure)?;
    }
    let finding = |(n_threads, threads): (usize, Threads)| {
        let alone = median(threads.one_by_one);
        let together = median(threads.together);
        let rate = |seconds: f64| (N_REQUESTS * N_TOKENS) as f64 / seconds;
        Finding {
            what: format!("Threads: {n_threads}; requests of {N_TOKENS} tokens, {name}"),
            measured: format!(
                "one at a time {:.1} tok/s, {:.1} ms each; {N_REQUESTS} together {:.1} tok/s, {:.1} ms each",
                rate(alone),
                alone * 1e3 / N_REQUESTS as f64,
                rate(together),
                together * 1e3
            ),
            claim: "as many threads as cores are best; the documents give no values".to_owned(),
            goals: Vec::new(),
        }
    };
    Ok(n_threads.into_iter().zip(engines).map(finding).collect())
}

/// Powers of two below the number of cores, and that number.
fn thread_counts(n_cores: usize) -> Vec<usize> {
    let powers = std::iter::successors(Some(1), |n| Some(n * 2)).take_while(|n| *n < n_cores);
    powers.chain([n_cores]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thread_counts_end_with_the_cores() {
        assert_eq!(
            [1, 2, 6, 8].map(thread_counts),
            [vec![1], vec![1, 2], vec![1, 2, 4, 6], vec![1, 2, 4, 8]]
        );
    }
}
