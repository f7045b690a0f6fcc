//! A bucket that fills at a steady rate: a limit per minute, without minutes that begin and end.
//!
//! Crates such as `governor` refuse a cost that the bucket cannot pay now. What an answer costs is only known at its end, so
//! this one can go into debt: whoever has used more than a minute's tokens waits until they are paid back.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A limit per period, such as a minute.
#[derive(Debug)]
pub(crate) struct Bucket {
    limit: u32,
    period: Duration,
    /// What is left, below 0 if there is debt, and when that was.
    level: Mutex<(f64, Instant)>,
}

/// What a bucket has left, for the headers that tell of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Left {
    pub(crate) limit: u32,
    pub(crate) remaining: u32,
    /// Until it is full again.
    pub(crate) reset: Duration,
}

impl Bucket {
    /// A full bucket of a period's worth.
    pub(crate) fn new(limit: u32, period: Duration, now: Instant) -> Self {
        Self { limit, period, level: Mutex::new((f64::from(limit), now)) }
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    pub(crate) fn period(&self) -> Duration {
        self.period
    }

    /// Sets what is left, as somebody else knows it.
    pub(crate) fn set(&self, level: f64, now: Instant) {
        let level = level.min(f64::from(self.limit));
        *self.level.lock().unwrap_or_else(PoisonError::into_inner) = (level, now);
    }

    fn per_second(&self) -> f64 {
        f64::from(self.limit) / self.period.as_secs_f64()
    }

    /// What is left now.
    fn filled(&self, now: Instant) -> MutexGuard<'_, (f64, Instant)> {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = now.saturating_duration_since(level.1).as_secs_f64();
        let full = f64::from(self.limit);
        *level = ((level.0 + seconds * self.per_second()).min(full), level.1.max(now));
        level
    }

    /// Takes `n`, or says how long to wait until it could.
    ///
    /// # Errors
    /// If less is left.
    pub(crate) fn take(&self, n: u32, now: Instant) -> Result<(), Duration> {
        let mut level = self.filled(now);
        let missing = f64::from(n) - level.0;
        if missing > 0.0 {
            return Err(self.time_to_fill(missing));
        }
        level.0 -= f64::from(n);
        Ok(())
    }

    /// Takes `n`, even if less is left.
    pub(crate) fn charge(&self, n: u64, now: Instant) {
        self.filled(now).0 -= n as f64;
    }

    pub(crate) fn left(&self, now: Instant) -> Left {
        let level = self.filled(now).0;
        let limit = self.limit;
        let reset = self.time_to_fill(f64::from(limit) - level);
        Left { limit, remaining: level.max(0.0) as u32, reset }
    }

    pub(crate) fn time_to_fill(&self, n: f64) -> Duration {
        /// Nobody is told to wait for longer, and a rate of 0 is no reason to divide by it.
        const MOST: f64 = 24.0 * 3600.0;
        Duration::from_secs_f64((n / self.per_second()).clamp(0.0, MOST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn it_refills_at_a_steady_rate_and_says_how_long_that_takes() {
        let start = Instant::now();
        let bucket = Bucket::new(60, MINUTE, start);
        for _ in 0..60 {
            bucket.take(1, start).unwrap();
        }
        assert_eq!(bucket.take(1, start), Err(seconds(1)));
        assert_eq!(bucket.left(start), Left { limit: 60, remaining: 0, reset: seconds(60) });
        bucket.take(2, start + seconds(2)).unwrap();
        assert_eq!(bucket.take(1, start + seconds(2)), Err(seconds(1)));
        let later = bucket.left(start + seconds(600));
        assert_eq!(later, Left { limit: 60, remaining: 60, reset: seconds(0) });
    }

    #[test]
    fn a_debt_is_paid_back_first() {
        let start = Instant::now();
        let bucket = Bucket::new(60, MINUTE, start);
        bucket.charge(90, start);
        assert_eq!(bucket.left(start).remaining, 0);
        assert_eq!(bucket.take(1, start), Err(seconds(31)));
        bucket.take(1, start + seconds(31)).unwrap();
    }

    #[test]
    fn a_limit_of_nothing_lets_nothing_through() {
        let start = Instant::now();
        let bucket = Bucket::new(0, MINUTE, start);
        assert!(bucket.take(1, start + seconds(3600)).is_err());
    }

    #[test]
    fn a_clock_that_is_read_out_of_order_gives_nothing_away() {
        let start = Instant::now();
        let bucket = Bucket::new(60, MINUTE, start);
        bucket.charge(60, start + seconds(10));
        assert!(bucket.take(1, start).is_err());
        bucket.take(1, start + seconds(11)).unwrap();
        assert!(bucket.take(1, start + seconds(11)).is_err());
    }
}
