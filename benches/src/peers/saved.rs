//! Saved runs, to detect regressions.

use std::collections::BTreeMap;
use std::fmt;
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
    /// The machine.
    pub machine: String,
    /// The results, by cell name.
    pub cells: BTreeMap<String, SavedCell>,
}

/// The results of a cell.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct SavedCell {
    /// This engine's median, in seconds or bytes.
    pub cost: f64,
    /// The median of this engine's time over that of the matching calibration kernel; for memory, just the median.
    pub relative: f64,
    /// The medians of the peers that ran.
    pub peers: BTreeMap<String, f64>,
    /// Improvement factor of this engine over each of them.
    pub ratios: BTreeMap<String, f64>,
}

impl SavedCell {
    /// The results of a measurement; `None` if this engine failed.
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

/// The unit of a cost: prefill and packing are compute-bound, decoding is memory-bound.
fn unit(test: Test, sample: &Sample) -> f64 {
    match test {
        Test::Prefill { .. } | Test::Load | Test::LoadPacked => sample.calibration.arithmetic,
        Test::Decode { .. } => sample.calibration.memory,
        Test::Memory => 1.0,
    }
}

impl Saved {
    /// Reads a saved run.
    ///
    /// # Errors
    /// If the file cannot be read or is not a saved run.
    pub fn read(path: &Path) -> Result<Self, PeersError> {
        let text = std::fs::read_to_string(path).map_err(PeersError::file(path))?;
        serde_json::from_str(&text)
            .map_err(|source| PeersError::NotSaved { path: path.display().to_string(), source })
    }

    /// Merges this run into the file, replacing cells that exist in both.
    ///
    /// # Errors
    /// If the file cannot be written, or is not a saved run.
    pub fn add_to(&self, path: &Path) -> Result<(), PeersError> {
        let mut all = if path.exists() { Self::read(path)?.cells } else { BTreeMap::new() };
        all.extend(self.cells.clone());
        let all = Self { machine: self.machine.clone(), cells: all };
        let text = serde_json::to_string_pretty(&all)
            .map_err(|source| PeersError::NotSaved { path: path.display().to_string(), source })?;
        std::fs::write(path, text + "\n").map_err(PeersError::file(path))
    }

    /// The change of each cell present in both runs.
    pub fn changes_since(&self, before: &Self) -> Vec<Change> {
        let change = |(name, now): (&String, &SavedCell)| {
            let before = before.cells.get(name)?;
            Some(Change {
                cell: name.clone(),
                before: before.cost,
                now: now.cost,
                ratio: before.relative / now.relative,
            })
        };
        self.cells.iter().filter_map(change).collect()
    }
}

/// A cell in two runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Its name.
    pub cell: String,
    /// The cost before, in seconds or bytes.
    pub before: f64,
    /// The cost now.
    pub now: f64,
    /// Improvement factor, relative to the calibration kernels.
    pub ratio: f64,
}

impl Change {
    /// The table heading for displayed [`Change`]s.
    pub const HEADING: &str = "| cell | cost before | now | ratio |\n|---|---|---|---|";

    /// A message if the cost grew by more than `tolerance`, a fraction.
    pub fn complaint(&self, tolerance: f64) -> Option<String> {
        let change = 1.0 / self.ratio - 1.0;
        let percent = 100.0 * change;
        let limit = 100.0 * tolerance;
        (change > tolerance)
            .then(|| format!("{} costs {percent:.0} % more; the limit is {limit:.0} %", self.cell))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cell, before, now, ratio } = self;
        write!(f, "| {cell} | {before:.4} | {now:.4} | {ratio:.2} |")
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
        let changes = saved(&[("a", 1.09), ("b", 1.5), ("new", 9.0)]).changes_since(&before);
        let rows: Vec<String> = changes.iter().map(ToString::to_string).collect();
        assert_eq!(rows, ["| a | 1.0000 | 1.0000 | 0.92 |", "| b | 1.0000 | 1.0000 | 0.67 |"]);
        let complaints: Vec<String> = changes.iter().filter_map(|change| change.complaint(0.1)).collect();
        assert_eq!(complaints, ["b costs 50 % more; the limit is 10 %"]);
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
        assert!(error.contains("is not a saved run"), "{error}");
    }
}
