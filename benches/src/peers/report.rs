//! Measurements as rows of a Markdown table.

use std::fmt;

use super::cells::Test;
use super::engines::BASELINE;
use super::measure::{Contender, FOREIGN_LIMIT, Measurement};
use crate::summary::median;

/// The heading for the rows of [`row`].
pub const HEADING: &str = "\
| cell | sm | beside it: figure, ratio (least–most), goal | |
|---|---|---|---|";

/// Improvement factor of this engine over another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// The median over the turns.
    pub median: f64,
    /// Minimum over the turns.
    pub least: f64,
    /// Maximum over the turns.
    pub most: f64,
}

impl Ratio {
    /// Computed from the ratio of each turn.
    pub fn of(turns: Vec<f64>) -> Self {
        let least = turns.iter().copied().fold(f64::INFINITY, f64::min);
        let most = turns.iter().copied().fold(0.0, f64::max);
        Self { median: median(turns), least, most }
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, least, most } = self;
        write!(f, "{median:.2} ({least:.2}–{most:.2})")
    }
}

/// The ratio to a peer; `None` if this engine or the peer failed.
pub fn ratio(ours: &Contender, peer: &Contender) -> Option<Ratio> {
    let turns = peer.outcome.as_ref().ok()?.iter().zip(ours.outcome.as_ref().ok()?);
    Some(Ratio::of(turns.map(|(theirs, ours)| theirs.cost / ours.cost).collect()))
}

/// The ratio to another build of this engine; `None` if none ran.
pub fn baseline_ratio(measurement: &Measurement) -> Option<Ratio> {
    let (ours, peers) = measurement.contenders.split_first()?;
    ratio(ours, peers.iter().find(|peer| peer.engine == BASELINE)?)
}

/// The geometric mean and minimum of the cells' ratios, as text; `None` if there are none.
pub fn ratios_in_short(ratios: &[(String, Ratio)]) -> Option<String> {
    let (least, Ratio { median, .. }) = ratios.iter().min_by(|a, b| a.1.median.total_cmp(&b.1.median))?;
    let logarithms: f64 = ratios.iter().map(|(_, ratio)| ratio.median.ln()).sum();
    let mean = (logarithms / ratios.len() as f64).exp();
    Some(format!("{} cells, geometric mean {mean:.3}, least {median:.3} ({least})", ratios.len()))
}

/// This engine's result; each peer's result, ratio and goal; and whether all goals are met. `*` marks results disturbed by
/// other processes.
pub fn row(measurement: &Measurement) -> String {
    let Measurement { cell, contenders } = measurement;
    let Some((ours, peers)) = contenders.split_first() else { return String::new() };
    let mut told = Vec::new();
    let mut missed = Vec::new();
    let mut n_ran = 0;
    for peer in peers {
        let goal =
            cell.peers.iter().find(|wanted| wanted.engine == peer.engine).map_or(1.0, |wanted| wanted.goal);
        let figure = figure(peer, cell.test);
        let Some(ratio) = ratio(ours, peer) else {
            told.push(format!("{} {figure}", peer.engine));
            continue;
        };
        n_ran += 1;
        told.push(format!("{} {figure}, {ratio}, {goal:.2}", peer.engine));
        if ratio.median < goal {
            missed.push(peer.engine.to_string());
        }
    }
    let verdict = match (n_ran, missed.is_empty()) {
        (0, _) => String::new(),
        (_, false) => format!("missed: {}", missed.join(", ")),
        (n, true) if n < peers.len() => "met, but not all ran".to_owned(),
        (_, true) => "met".to_owned(),
    };
    format!("| {cell} | {} | {} | {verdict} |", figure(ours, cell.test), told.join("; "))
}

fn figure(contender: &Contender, test: Test) -> String {
    let (cost, samples) = match (contender.cost(), &contender.outcome) {
        (Some(cost), Ok(samples)) => (cost, samples),
        (_, Err(error)) => return error.replace('|', "/").replace('\n', " "),
        (None, Ok(_)) => return "no figure".to_owned(),
    };
    let mark = if samples.iter().any(|sample| sample.foreign >= FOREIGN_LIMIT) { "*" } else { "" };
    let figure = match (test, test.total_tokens()) {
        (_, Some(n_tokens)) => format!("{:.1} tok/s", n_tokens as f64 / cost),
        (Test::Memory, None) => format!("{:.0} MiB", cost / f64::from(1 << 20)),
        (_, None) => format!("{cost:.2} s"),
    };
    format!("{figure}{mark}")
}

#[cfg(test)]
mod tests {
    use super::super::calibrate::Calibration;
    use super::super::cells::cells;
    use super::super::engines::{BASELINE, CANDLE, Engine, LLAMA, OURS};
    use super::super::measure::Sample;
    use super::*;

    fn ran(engine: Engine, costs: &[f64]) -> Contender {
        let calibration = Calibration { arithmetic: 1.0, memory: 1.0 };
        let sample = |&cost: &f64| Sample { cost, foreign: 0.0, calibration };
        Contender { engine, outcome: Ok(costs.iter().map(sample).collect()) }
    }

    /// The first cell: a prompt of 512 tokens.
    fn measurement(peers: Vec<Contender>) -> Measurement {
        let contenders = [vec![ran(OURS, &[4.0, 5.0, 8.0])], peers].concat();
        Measurement { cell: cells(false, false).swap_remove(0), contenders }
    }

    #[test]
    fn ratios_are_taken_turn_by_turn() {
        let slow = ran(CANDLE, &[40.0, 40.0, 40.0]);
        let equal = ran(LLAMA, &[8.0, 5.0, 4.0]);
        let measurement = measurement(vec![slow, equal]);
        let [ours, _, llama] = measurement.contenders.as_slice() else { panic!("three") };
        assert_eq!(ratio(ours, llama), Some(Ratio { median: 1.0, least: 0.5, most: 2.0 }));
        let row = row(&measurement);
        assert!(row.contains("| 102.4 tok/s | candle 12.8 tok/s, 8.00 (5.00–10.00), 1.00; "), "{row}");
        assert!(row.ends_with("llama.cpp 102.4 tok/s, 1.00 (0.50–2.00), 1.00 | met |"), "{row}");
    }

    #[test]
    fn another_build_is_compared_with_and_summed_up() {
        let measurement = measurement(vec![ran(LLAMA, &[8.0, 8.0, 8.0]), ran(BASELINE, &[8.0, 5.0, 4.0])]);
        let ratio = baseline_ratio(&measurement).unwrap();
        assert_eq!(ratio, Ratio { median: 1.0, least: 0.5, most: 2.0 });
        let other = Ratio { median: 0.25, ..ratio };
        let summary = ratios_in_short(&[("a".to_owned(), ratio), ("b".to_owned(), other)]);
        assert_eq!(summary.as_deref(), Some("2 cells, geometric mean 0.500, least 0.250 (b)"));
        assert_eq!(ratios_in_short(&[]), None);
    }

    #[test]
    fn who_is_ahead_or_did_not_run_is_named() {
        let missing = Contender { engine: CANDLE, outcome: Err("missing (it | is not there)".to_owned()) };
        let row_of = |peers: &[Contender]| row(&measurement(peers.to_vec()));
        let row = row_of(&[ran(LLAMA, &[3.0, 4.0, 4.0]), missing.clone()]);
        assert!(row.contains("candle missing (it / is not there)"), "{row}");
        assert!(row.ends_with("| missed: llama.cpp |"), "{row}");
        let row = row_of(&[ran(LLAMA, &[9.0, 9.0, 9.0]), missing.clone()]);
        assert!(row.ends_with("| met, but not all ran |"), "{row}");
        assert!(row_of(&[missing]).ends_with("|  |"));
    }
}
