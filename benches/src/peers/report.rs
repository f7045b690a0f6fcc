//! A measurement as a row of a table in Markdown.

use super::cells::Test;
use super::measure::{Contender, FOREIGN_LIMIT, Measurement};
use crate::summary::median;

/// The heading of the rows that [`row`] gives.
pub const HEADING: &str = "\
| cell | sm | beside it: figure, ratio (least–most), goal | |
|---|---|---|---|";

/// How much better this engine is than another: above 1 it is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// The median over the turns.
    pub median: f64,
    /// The least of a turn.
    pub least: f64,
    /// The most of a turn.
    pub most: f64,
}

/// The ratio to one of the peers; `None` where this engine or the peer failed.
pub fn ratio(ours: &Contender, peer: &Contender) -> Option<Ratio> {
    let turns = peer.outcome.as_ref().ok()?.iter().zip(ours.outcome.as_ref().ok()?);
    let ratios: Vec<f64> = turns.map(|(theirs, ours)| theirs.cost / ours.cost).collect();
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let most = ratios.iter().copied().fold(0.0, f64::max);
    Some(Ratio { median: median(ratios), least, most })
}

/// This engine, every peer with the ratio to it and the goal, and whether all goals are met. `*` marks figures that other
/// work on the machine disturbed.
pub fn row(measurement: &Measurement) -> String {
    let Measurement { cell, contenders } = measurement;
    let Some((ours, peers)) = contenders.split_first() else { return String::new() };
    let (mut told, mut missed, mut n_ran) = (Vec::new(), Vec::new(), 0);
    for peer in peers {
        let goal =
            cell.peers.iter().find(|wanted| wanted.engine == peer.engine).map_or(1.0, |wanted| wanted.goal);
        let figure = figure(peer, cell.test);
        let Some(Ratio { median, least, most }) = ratio(ours, peer) else {
            told.push(format!("{} {figure}", peer.engine));
            continue;
        };
        n_ran += 1;
        told.push(format!("{} {figure}, {median:.2} ({least:.2}–{most:.2}), {goal:.2}", peer.engine));
        if median < goal {
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
    use super::super::engines::{CANDLE, Engine, LLAMA, OURS};
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
        let (slow, equal) = (ran(CANDLE, &[40.0, 40.0, 40.0]), ran(LLAMA, &[8.0, 5.0, 4.0]));
        let measurement = measurement(vec![slow, equal]);
        let [ours, _, llama] = measurement.contenders.as_slice() else { panic!("three") };
        assert_eq!(ratio(ours, llama), Some(Ratio { median: 1.0, least: 0.5, most: 2.0 }));
        let row = row(&measurement);
        assert!(row.contains("| 102.4 tok/s | candle 12.8 tok/s, 8.00 (5.00–10.00), 1.00; "), "{row}");
        assert!(row.ends_with("llama.cpp 102.4 tok/s, 1.00 (0.50–2.00), 1.00 | met |"), "{row}");
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
