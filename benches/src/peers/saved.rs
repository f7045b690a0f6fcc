//! Runs that are kept, to see later whether something has become slower.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::PeersError;
use super::cells::Test;
use super::measure::{Contender, Measurement, Sample};
use super::report::ratio;
use crate::summary::median;

/// A run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Saved {
    /// Where it was.
    pub machine: String,
    /// The figures of each cell, by its name.
    pub cells: BTreeMap<String, SavedCell>,
}

/// The figures of a cell.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct SavedCell {
    /// This engine's median: seconds, or bytes.
    pub cost: f64,
    /// The median of this engine's seconds per seconds of the calibration kernel that is nearest in kind; memory is not
    /// divided by anything.
    pub relative: f64,
    /// The medians of the peers that ran.
    pub peers: BTreeMap<String, f64>,
    /// This engine's medians relative to theirs: above 1 it is better.
    pub ratios: BTreeMap<String, f64>,
}

impl SavedCell {
    /// The figures of a measurement; `None` if this engine failed.
    pub fn of(measurement: &Measurement) -> Option<Self> {
        let (ours, peers) = measurement.contenders.split_first()?;
        let samples = ours.outcome.as_ref().ok()?;
        let relative = |sample: &Sample| sample.cost / unit(measurement.cell.test, sample);
        let cost = |peer: &Contender| Some((peer.engine.to_string(), peer.cost()?));
        let ratio = |peer: &Contender| Some((peer.engine.to_string(), ratio(ours, peer)?.median));
        Some(Self {
            cost: ours.cost()?,
            relative: median(samples.iter().map(relative).collect()),
            peers: peers.iter().filter_map(cost).collect(),
            ratios: peers.iter().filter_map(ratio).collect(),
        })
    }
}

/// What a cost is divided by: prompts and packing compute, one token after the other reads.
fn unit(test: Test, sample: &Sample) -> f64 {
    match test {
        Test::Prefill { .. } | Test::Load | Test::LoadPacked => sample.calibration.arithmetic,
        Test::Decode { .. } => sample.calibration.memory,
        Test::Memory => 1.0,
    }
}

impl Saved {
    /// Reads a run.
    ///
    /// # Errors
    /// If the file cannot be read or is no run.
    pub fn read(path: &Path) -> Result<Self, PeersError> {
        let text = std::fs::read_to_string(path).map_err(PeersError::file(path))?;
        serde_json::from_str(&text)
            .map_err(|source| PeersError::NotSaved { path: path.display().to_string(), source })
    }

    /// Writes a run; cells of a run that the file holds stay where this one has no figures for them.
    ///
    /// # Errors
    /// If the file cannot be written, or holds something else.
    pub fn add_to(&self, path: &Path) -> Result<(), PeersError> {
        let mut all = if path.exists() { Self::read(path)?.cells } else { BTreeMap::new() };
        all.extend(self.cells.clone());
        let all = Self { machine: self.machine.clone(), cells: all };
        let text = serde_json::to_string_pretty(&all)
            .map_err(|source| PeersError::NotSaved { path: path.display().to_string(), source })?;
        std::fs::write(path, text + "\n").map_err(PeersError::file(path))
    }

    /// A sentence for each cell that costs more than in `before` by more than `tolerance`, a fraction, or that failed; and how
    /// many cells both runs have.
    pub fn check(&self, before: &Self, tolerance: f64) -> (usize, Vec<String>) {
        let both: Vec<_> =
            self.cells.iter().filter_map(|(name, now)| Some((name, now, before.cells.get(name)?))).collect();
        let worse = both.iter().filter_map(|(name, now, before)| {
            let change = now.relative / before.relative - 1.0;
            let (percent, limit) = (100.0 * change, 100.0 * tolerance);
            (change > tolerance)
                .then(|| format!("{name} costs {percent:.0} % more; the limit is {limit:.0} %"))
        });
        (both.len(), worse.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(figures: &[(&str, f64)]) -> Saved {
        let cell =
            |relative| SavedCell { cost: 1.0, relative, peers: BTreeMap::new(), ratios: BTreeMap::new() };
        let cells = figures.iter().map(|&(name, relative)| (name.to_owned(), cell(relative))).collect();
        Saved { machine: "m".to_owned(), cells }
    }

    #[test]
    fn only_what_became_worse_beyond_the_tolerance_is_named() {
        let before = saved(&[("a", 1.0), ("b", 1.0), ("gone", 1.0)]);
        let (n_both, worse) = saved(&[("a", 1.09), ("b", 1.5), ("new", 9.0)]).check(&before, 0.1);
        assert_eq!((n_both, worse), (2, vec!["b costs 50 % more; the limit is 10 %".to_owned()]));
    }

    #[test]
    fn a_run_adds_to_the_file_and_is_read_back() {
        let path = std::env::temp_dir().join(format!("sm-saved-{}.json", std::process::id()));
        saved(&[("a", 1.0), ("b", 2.0)]).add_to(&path).unwrap();
        saved(&[("b", 3.0)]).add_to(&path).unwrap();
        assert_eq!(Saved::read(&path).unwrap(), saved(&[("a", 1.0), ("b", 3.0)]));
        std::fs::write(&path, "[]").unwrap();
        let error = Saved::read(&path).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert!(error.contains("is no saved run"), "{error}");
    }
}
