//! Where the time of steps went.

use std::ops::AddAssign;
use std::time::Duration;

use super::Work;

/// Where the time of some steps went.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Number of steps.
    pub n_steps: usize,
    /// Time of all steps together; that of the rows adds up to it.
    pub time: Duration,
    /// One for each kind of operation, in the order of the plan; the last is what belongs to none.
    pub rows: Vec<ProfileRow>,
    /// How fast the same workers read and compute.
    pub speed: Speed,
    /// What a device was told and gave back, in all steps; nothing on the CPU.
    pub traffic: Traffic,
}

/// What a device is told in steps, and gives back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Kernels started.
    pub n_dispatches: u64,
    /// Bytes of tables and inputs sent to the device.
    pub sent_bytes: u64,
    /// Bytes of results read back.
    pub read_bytes: u64,
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.n_dispatches += other.n_dispatches;
        self.sent_bytes += other.sent_bytes;
        self.read_bytes += other.read_bytes;
    }
}

/// A kind of operation: the same operation with weights of the same format and shape.
#[derive(Clone, Debug, PartialEq)]
pub struct ProfileRow {
    /// For instance `linear q4_0 2048 x 5632`: the operation, and its weights as `[out_features, in_features]`.
    pub name: String,
    /// Operations of this kind in a step.
    pub n_ops: usize,
    /// Time in all steps, waiting included; a mean over the workers, as the next.
    pub time: Duration,
    /// The part of the time that workers waited for others.
    pub waiting: Duration,
    /// Work in all steps.
    pub work: Work,
}

/// How much the workers together read and compute in a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed {
    /// Bytes of weights, read one after the other from where they are in memory.
    pub read_bytes: f64,
    /// Additions and multiplications of single precision.
    pub float_ops: f64,
    /// Additions and multiplications of bfloat16.
    pub bf16_ops: f64,
    /// Additions and multiplications of bytes.
    pub int8_ops: f64,
}

impl Speed {
    /// The least time for some work: reading and computing at these speeds, at the same time.
    pub fn least_time(&self, work: &Work) -> Duration {
        let reading = work.read_bytes as f64 / self.read_bytes;
        let computing = work.float_ops as f64 / self.float_ops
            + work.bf16_ops as f64 / self.bf16_ops
            + work.int8_ops as f64 / self.int8_ops;
        Duration::try_from_secs_f64(reading.max(computing)).unwrap_or(Duration::MAX)
    }
}
