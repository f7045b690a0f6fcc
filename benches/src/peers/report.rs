//! A measurement as a row of a table in Markdown.

use super::cells::Test;
use super::engines::Engine;
use super::measure::{Contender, FOREIGN_LIMIT, Measurement};
use crate::summary::median;

/// The heading of the rows that [`row`] gives.
pub const HEADING: &str = "\
| cell | sm | peers | ratio to the best (least–most) | goal | |
|---|---|---|---|---|---|";

/// How much better this engine is than another: above 1 it is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// The other engine.
    pub engine: Engine,
    /// The median over the turns.
    pub median: f64,
    /// The least of a turn.
    pub least: f64,
    /// The most of a turn.
    pub most: f64,
}

/// The ratio to the peer that did best; `None` where this engine or all peers failed.
pub fn ratio_to_best(measurement: &Measurement) -> Option<Ratio> {
    let (ours, peers) = measurement.contenders.split_first()?;
    let ours = ours.outcome.as_ref().ok()?;
    let ran = peers.iter().filter_map(|peer| Some((peer, peer.cost()?)));
    let (best, _) = ran.min_by(|(_, a), (_, b)| a.total_cmp(b))?;
    let turns = best.outcome.as_ref().ok()?.iter().zip(ours);
    let ratios: Vec<f64> = turns.map(|(theirs, ours)| theirs.cost / ours.cost).collect();
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let most = ratios.iter().copied().fold(0.0, f64::max);
    Some(Ratio { engine: best.engine, median: median(ratios), least, most })
}

/// This engine, every peer, the ratio to the best of them, and whether that meets the goal. `*` marks figures that other
/// work on the machine disturbed.
pub fn row(measurement: &Measurement) -> String {
    let Measurement { cell, contenders } = measurement;
    let mut figures = contenders.iter().map(|contender| figure(contender, cell.test));
    let ours = figures.next().unwrap_or_default();
    let peers = contenders.iter().skip(1).zip(figures);
    let peers: Vec<_> = peers.map(|(peer, figure)| format!("{} {figure}", peer.engine)).collect();
    let peers = peers.join("; ");
    let Some(Ratio { engine, median, least, most }) = ratio_to_best(measurement) else {
        return format!("| {cell} | {ours} | {peers} | | | |");
    };
    let goal = cell.goal;
    let all_ran = contenders.iter().all(|contender| contender.outcome.is_ok());
    let verdict = match (median >= goal, all_ran) {
        (true, true) => "met",
        (true, false) => "met, but not all peers ran",
        (false, _) => "missed",
    };
    format!(
        "| {cell} | {ours} | {peers} | {median:.2} ({least:.2}–{most:.2}) of {engine} | {goal:.2} | {verdict} |"
    )
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
    use super::super::engines::{CANDLE, LLAMA, OURS};
    use super::super::measure::Sample;
    use super::*;

    fn ran(engine: Engine, costs: &[f64]) -> Contender {
        let calibration = Calibration { arithmetic: 1.0, memory: 1.0 };
        let sample = |&cost: &f64| Sample { cost, foreign: 0.0, calibration };
        Contender { engine, outcome: Ok(costs.iter().map(sample).collect()) }
    }

    fn measurement(peers: Vec<Contender>) -> Measurement {
        let contenders = [vec![ran(OURS, &[4.0, 5.0, 8.0])], peers].concat();
        Measurement { cell: cells(false).swap_remove(0), contenders }
    }

    #[test]
    fn the_ratio_is_taken_turn_by_turn_to_the_fastest() {
        let slow = ran(CANDLE, &[40.0, 40.0, 40.0]);
        let measurement = measurement(vec![slow, ran(LLAMA, &[8.0, 5.0, 4.0])]);
        let ratio = ratio_to_best(&measurement).unwrap();
        assert_eq!(ratio, Ratio { engine: LLAMA, median: 1.0, least: 0.5, most: 2.0 });
        let row = row(&measurement);
        assert!(row.contains("| 102.4 tok/s | candle 12.8 tok/s; llama.cpp 102.4 tok/s |"), "{row}");
        assert!(row.ends_with("| 1.00 (0.50–2.00) of llama.cpp | 1.00 | met |"), "{row}");
    }

    #[test]
    fn who_did_not_run_is_named() {
        let missing = Contender { engine: CANDLE, outcome: Err("missing (it | is not there)".to_owned()) };
        let row = row(&measurement(vec![ran(LLAMA, &[4.0, 4.0, 4.0]), missing]));
        assert!(row.contains("candle missing (it / is not there)"), "{row}");
        assert!(row.ends_with("| missed |"), "{row}");
        let missing = Contender { engine: CANDLE, outcome: Err("missing".to_owned()) };
        assert!(ratio_to_best(&measurement(vec![missing])).is_none());
    }
}
