//! The time of a step, from what `sm bench` measures on one machine.
//!
//! ```text
//! step_us = base(rows) + c · context        context: positions attended to by all rows
//! ```
//!
//! `base` is piecewise linear through the measured numbers of rows. A straight line does not do: rows of a prompt cost a
//! fraction of what single rows cost, because they share the reading of the weights.

use serde::Deserialize;

/// A test of `sm bench -o jsonl`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Measured {
    /// Its name: `pp512`, `tg32@b8`, ….
    pub test: String,
    /// Tokens of the prompt, or generated for each sequence.
    pub tokens: usize,
    /// Positions filled before.
    pub depth: usize,
    /// Sequences at once.
    pub sequences: usize,
    /// Of all sequences.
    pub tokens_per_second: f64,
}

/// Why figures are of no use.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CostError {
    /// A line is no test of `sm bench`.
    #[error("line {line} is no test of sm bench -o jsonl: {reason}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// There are too few tests.
    #[error(
        "the figures need tests of generation and of prompts without depth; run sm bench -p 64,512 -n 32 -b 1,8 -o jsonl"
    )]
    Few,
}

/// Predicts the time of steps.
#[derive(Clone, Debug, PartialEq)]
pub struct StepCost {
    /// Rows and the µs of a step with them and no context, by rows.
    points: Vec<(f64, f64)>,
    us_per_position: f64,
}

impl StepCost {
    /// The cost from figures of `sm bench -o jsonl`.
    ///
    /// # Errors
    /// If a line is malformed or the tests do not determine a cost.
    pub fn parse(text: &str) -> Result<Self, CostError> {
        let parse = |(line, text): (usize, &str)| {
            serde_json::from_str(text)
                .map_err(|error| CostError::Line { line: line + 1, reason: error.to_string() })
        };
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        Self::new(&lines.map(parse).collect::<Result<Vec<Measured>, _>>()?)
    }

    /// The cost from tests.
    ///
    /// # Errors
    /// If they do not determine it.
    pub fn new(tests: &[Measured]) -> Result<Self, CostError> {
        let us_per_position = us_per_position(tests);
        let shallow = tests.iter().filter(|test| test.depth == 0 && test.is_usable());
        let mut points: Vec<(f64, f64)> = shallow
            .map(|test| {
                let (rows, context) = test.step();
                (rows, (test.step_us() - us_per_position * context).max(1.0))
            })
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points.dedup_by_key(|point| point.0);
        if points.len() < 2 {
            return Err(CostError::Few);
        }
        Ok(Self { points, us_per_position })
    }

    /// The cost where everything takes `factor` times as long.
    pub fn times(&self, factor: f64) -> Self {
        let points = self.points.iter().map(|(rows, us)| (*rows, us * factor)).collect();
        Self { points, us_per_position: self.us_per_position * factor }
    }

    /// The µs of a step of `n_rows` rows that attend to `context` positions in all.
    pub fn step_us(&self, n_rows: usize, context: u64) -> f64 {
        let rows = n_rows as f64;
        let right = self.points.partition_point(|point| point.0 < rows).clamp(1, self.points.len() - 1);
        let ((x0, y0), (x1, y1)) = (self.points[right - 1], self.points[right]);
        let base = y0 + (rows - x0) * (y1 - y0) / (x1 - x0);
        base.max(1.0) + self.us_per_position * context as f64
    }
}

impl Measured {
    fn generates(&self) -> bool {
        self.test.starts_with("tg")
    }

    /// Whether each of its steps is alike: prompts of several sequences are spread over steps in ways that the name does not tell.
    fn is_usable(&self) -> bool {
        self.generates() || self.sequences == 1
    }

    /// Mean rows and context of its steps.
    fn step(&self) -> (f64, f64) {
        let (depth, tokens) = (self.depth as f64, self.tokens as f64);
        let rows = if self.generates() { self.sequences as f64 } else { tokens };
        (rows, rows * (depth + tokens / 2.0))
    }

    fn step_us(&self) -> f64 {
        self.step().0 * 1e6 / self.tokens_per_second
    }
}

/// The cost of a position, from pairs of tests that differ only in depth; 0 without one.
fn us_per_position(tests: &[Measured]) -> f64 {
    let same = |a: &Measured, b: &Measured| {
        (a.generates(), a.tokens, a.sequences) == (b.generates(), b.tokens, b.sequences)
    };
    let usable = || tests.iter().filter(|test| test.is_usable());
    let mut slopes = Vec::new();
    for deep in usable().filter(|test| test.depth > 0) {
        for shallow in usable().filter(|test| test.depth == 0 && same(test, deep)) {
            let positions = deep.step().1 - shallow.step().1;
            slopes.push((deep.step_us() - shallow.step_us()) / positions);
        }
    }
    let mean = slopes.iter().sum::<f64>() / slopes.len().max(1) as f64;
    mean.max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(test: &str, tokens: usize, depth: usize, sequences: usize, step_us: f64) -> Measured {
        let rows = if test == "tg" { sequences } else { tokens } as f64;
        let test = test.to_owned();
        Measured { test, tokens, depth, sequences, tokens_per_second: rows * 1e6 / step_us }
    }

    #[test]
    fn measured_steps_are_predicted() {
        // 1000 µs for one row, 1700 for eight, 6000 for 512; half a µs per position.
        let tests = [
            test("tg", 32, 0, 1, 1000.0 + 8.0),
            test("tg", 32, 0, 8, 1700.0 + 64.0),
            test("tg", 32, 1000, 1, 1000.0 + 8.0 + 500.0),
            test("pp", 512, 0, 1, 6000.0 + 65_536.0),
        ];
        let cost = StepCost::new(&tests).unwrap();
        assert!((cost.step_us(1, 0) - 1000.0).abs() < 1e-6);
        assert!((cost.step_us(8, 1000) - 2200.0).abs() < 1e-6);
        assert!((cost.step_us(260, 0) - 3850.0).abs() < 1e-6, "half way between 8 and 512 rows");
        assert!(cost.step_us(1024, 0) > 10_000.0, "continued beyond the last test");
        assert!((cost.times(2.0).step_us(8, 1000) - 4400.0).abs() < 1e-6);
    }

    #[test]
    fn too_few_figures_are_refused() {
        assert_eq!(StepCost::new(&[test("tg", 32, 0, 1, 1000.0)]), Err(CostError::Few));
        assert!(matches!(StepCost::parse("\n{}"), Err(CostError::Line { line: 2, .. })));
    }
}
