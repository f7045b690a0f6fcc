//! The time of each operation in a test's steps, as a table or JSON.

use std::fmt::{self, Write};
use std::time::Duration;

use serde::Serialize;
use sm_runtime::{Profile, ProfileRow, Speed, Traffic, Work};

/// A profile, per step and in display units.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    steps: usize,
    /// Kinds of operations, then the whole step.
    ops: Vec<Row>,
    /// Read bandwidth of the same threads without the model, measured after the steps.
    read_gb_per_second: f64,
    float_gop_per_second: f64,
    bf16_gop_per_second: f64,
    int8_gop_per_second: f64,
    /// `None` on the CPU.
    device: Option<PerStep>,
}

/// What a device is told and gives back, per step.
#[derive(Clone, Copy, Debug, Serialize)]
struct PerStep {
    dispatches: f64,
    sent_bytes: f64,
    read_bytes: f64,
}

impl PerStep {
    fn new(traffic: Traffic, n_steps: usize) -> Option<Self> {
        let per_step = |n: u64| n as f64 / n_steps.max(1) as f64;
        (traffic != Traffic::default()).then(|| Self {
            dispatches: per_step(traffic.n_dispatches),
            sent_bytes: per_step(traffic.sent_bytes),
            read_bytes: per_step(traffic.read_bytes),
        })
    }
}

/// A kind of operation, per step.
#[derive(Debug, Serialize)]
struct Row {
    op: String,
    count: usize,
    time_us: f64,
    /// Fraction of the step's time.
    share: f64,
    /// Fraction of the row's time in which threads waited for others.
    waiting: f64,
    gb_per_second: f64,
    gop_per_second: f64,
    /// Minimum possible time over time taken; `None` for operations that neither read weights nor multiply.
    of_limit: Option<f64>,
}

impl Report {
    /// Per step, and in seconds.
    pub(super) fn new(profile: &Profile) -> Self {
        let mut total = ProfileRow {
            name: "step".to_owned(),
            n_ops: 0,
            time: profile.time,
            waiting: Duration::ZERO,
            work: Work::default(),
        };
        let mut least_time = Duration::ZERO;
        for row in &profile.rows {
            total.n_ops += row.n_ops;
            total.waiting += row.waiting;
            total.work += row.work;
            least_time += profile.speed.least_time(&row.work);
        }
        let ops = profile.rows.iter().map(|row| Row::new(row, profile, profile.speed.least_time(&row.work)));
        let mut ops: Vec<Row> = ops.collect();
        ops.push(Row::new(&total, profile, least_time));
        let Speed { read_bytes, float_ops, bf16_ops, int8_ops } = profile.speed;
        Self {
            steps: profile.n_steps,
            ops,
            read_gb_per_second: read_bytes / 1e9,
            float_gop_per_second: float_ops / 1e9,
            bf16_gop_per_second: bf16_ops / 1e9,
            int8_gop_per_second: int8_ops / 1e9,
            device: PerStep::new(profile.traffic, profile.n_steps),
        }
    }
}

impl Row {
    fn new(row: &ProfileRow, profile: &Profile, least_time: Duration) -> Self {
        let seconds = row.time.as_secs_f64();
        let n_ops = row.work.float_ops + row.work.bf16_ops + row.work.int8_ops;
        let over = |amount: f64, divisor: f64| if divisor > 0.0 { amount / divisor } else { 0.0 };
        Self {
            op: row.name.clone(),
            count: row.n_ops,
            time_us: over(seconds * 1e6, profile.n_steps as f64),
            share: over(seconds, profile.time.as_secs_f64()),
            waiting: over(row.waiting.as_secs_f64(), seconds),
            gb_per_second: over(row.work.read_bytes as f64 / 1e9, seconds),
            gop_per_second: over(n_ops as f64 / 1e9, seconds),
            of_limit: (row.work != Work::default()).then(|| over(least_time.as_secs_f64(), seconds)),
        }
    }
}

impl fmt::Display for Report {
    /// A Markdown table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = "operation";
        let width = self.ops.iter().map(|row| row.op.len()).fold(title.len(), usize::max);
        let head =
            format!("| {title:<width$} | count | µs/step |  share | waiting |   GB/s |   GOP/s | of limit |");
        writeln!(f, "{head}\n{}", rule(&head))?;
        for row in &self.ops {
            let Row { op, count, time_us, gb_per_second, gop_per_second, .. } = row;
            let [share, waiting] = [row.share, row.waiting].map(|fraction| fraction * 100.0);
            write!(f, "| {op:<width$} | {count:>5} | {time_us:>7.0} | {share:>5.1}% | {waiting:>6.1}% ")?;
            write!(f, "| {gb_per_second:>6.2} | {gop_per_second:>7.1} |")?;
            match row.of_limit {
                Some(of_limit) => writeln!(f, " {:>7.0}% |", of_limit * 100.0)?,
                None => writeln!(f, "          |")?,
            }
        }
        let Self {
            read_gb_per_second, float_gop_per_second, bf16_gop_per_second, int8_gop_per_second, ..
        } = self;
        writeln!(
            f,
            "\nLimits: {read_gb_per_second:.2} GB/s memory bandwidth; {float_gop_per_second:.1} GOP/s in f32, \
             {bf16_gop_per_second:.1} in bf16, {int8_gop_per_second:.1} in int8."
        )?;
        match self.device {
            None => Ok(()),
            Some(PerStep { dispatches, sent_bytes, read_bytes }) => writeln!(
                f,
                "Per step: {dispatches:.0} dispatches, {sent_bytes:.0} bytes sent to the device, {read_bytes:.0} read back."
            ),
        }
    }
}

/// The line below the header. Columns of numbers are right-aligned.
fn rule(head: &str) -> String {
    let mut rule = String::new();
    for (index, cell) in head.trim_matches('|').split('|').enumerate() {
        let dashes = "-".repeat(cell.chars().count() - 1);
        // Writing to a string cannot fail.
        let _ = if index == 0 { write!(rule, "|{dashes}-") } else { write!(rule, "|{dashes}:") };
    }
    rule + "|"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let work = |read_bytes, int8_ops| Work { read_bytes, int8_ops, ..Work::default() };
        let row = |name: &str, ms, work| ProfileRow {
            name: name.to_owned(),
            n_ops: 3,
            time: Duration::from_millis(ms),
            waiting: Duration::from_millis(ms / 4),
            work,
        };
        Report::new(&Profile {
            n_steps: 2,
            time: Duration::from_secs(4),
            rows: vec![
                row("linear", 3000, work(30_000_000_000, 4_000_000)),
                row("norm", 1000, Work::default()),
            ],
            speed: Speed { read_bytes: 2e10, float_ops: 1e11, bf16_ops: 1e11, int8_ops: 1e11 },
            traffic: Traffic { n_dispatches: 190, sent_bytes: 600, read_bytes: 16 },
        })
    }

    #[test]
    fn rows_are_per_step_and_relative_to_the_limit() {
        let report = report();
        let [linear, norm, step] = &report.ops[..] else { panic!("{report:?}") };
        assert_eq!((linear.time_us, linear.share, linear.waiting), (1_500_000.0, 0.75, 0.25));
        assert_eq!((linear.gb_per_second, linear.of_limit), (10.0, Some(0.5)));
        assert_eq!((norm.gb_per_second, norm.of_limit), (0.0, None));
        assert_eq!((step.time_us, step.share, step.count), (2_000_000.0, 1.0, 6));
        assert_eq!((step.waiting, step.of_limit), (0.25, Some(0.375)));
    }

    #[test]
    fn the_columns_of_the_table_line_up() {
        let text = report().to_string();
        let lengths: Vec<usize> =
            text.lines().filter(|line| line.starts_with('|')).map(|line| line.chars().count()).collect();
        assert_eq!(lengths, [lengths[0]; 5], "{text}");
        assert!(
            text.ends_with("Per step: 95 dispatches, 300 bytes sent to the device, 8 read back.\n"),
            "{text}"
        );
    }
}
