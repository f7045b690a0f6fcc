//! A limit on how often anybody may call an endpoint, with or without a key.

use std::collections::HashMap;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::bucket::Bucket;
use crate::error::ApiError;

/// Visitors that are remembered. One who has not called for a period is forgotten without loss.
const MAX_VISITORS: usize = 10_000;

/// So many requests in a period, to each endpoint, for each key or address.
///
/// ```
/// use std::time::Duration;
///
/// use sm_server::RateLimit;
///
/// let limit: RateLimit = "10/60".parse()?;
/// assert_eq!((limit.times, limit.period), (10, Duration::from_secs(60)));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests in a period.
    pub times: u32,
    /// The period.
    pub period: Duration,
}

impl FromStr for RateLimit {
    type Err = String;

    /// Parses `TIMES/SECONDS`.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(times, seconds)| {
            let seconds: u32 = seconds.parse().ok()?;
            Some((times.parse().ok()?, seconds)).filter(|(_, seconds)| *seconds > 0)
        });
        let (times, seconds) = parts.ok_or("must be requests/seconds, as in 10/60")?;
        Ok(Self { times, period: Duration::from_secs(u64::from(seconds)) })
    }
}

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Visitor {
    Key(u64),
    /// An address; `None` is everybody at a unix socket.
    Address(Option<IpAddr>),
}

/// How often everybody has called lately.
#[derive(Debug)]
pub(crate) struct Visitors {
    limit: RateLimit,
    buckets: Mutex<HashMap<(Visitor, String), Bucket>>,
}

impl Visitors {
    pub(crate) fn new(limit: RateLimit) -> Self {
        Self { limit, buckets: Mutex::default() }
    }

    /// Counts a call.
    ///
    /// # Errors
    /// If there were as many as may be.
    pub(crate) fn call(&self, visitor: Visitor, endpoint: &str, now: Instant) -> Result<(), ApiError> {
        let RateLimit { times, period } = self.limit;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_VISITORS {
            buckets.retain(|_, bucket| bucket.left(now).reset > Duration::ZERO);
            if buckets.len() >= MAX_VISITORS {
                buckets.clear();
            }
        }
        let bucket = buckets.entry((visitor, endpoint.to_owned()));
        let bucket = bucket.or_insert_with(|| Bucket::new(times, period, now));
        bucket.take(1, now).map_err(|wait| {
            let seconds = period.as_secs();
            ApiError::rate_limited(
                format!("{endpoint} takes {times} requests in {seconds} s from each caller"),
                wait,
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_has_its_own_limit_for_each_endpoint() {
        let limit = "10/60".parse().unwrap();
        let now = Instant::now();
        let visitors = Visitors::new(limit);
        let [a, b] = [Visitor::Key(1), Visitor::Address(None)];
        (0..10).for_each(|_| visitors.call(a, "/generate", now).unwrap());
        visitors.call(a, "/generate", now).unwrap_err();
        visitors.call(a, "/solve/math", now).unwrap();
        visitors.call(b, "/generate", now).unwrap();
        visitors.call(a, "/generate", now + Duration::from_secs(6)).unwrap();
        for wrong in ["", "10", "10/0", "x/60", "-1/60"] {
            wrong.parse::<RateLimit>().unwrap_err();
        }
    }

    #[test]
    fn visitors_do_not_pile_up() {
        let visitors = Visitors::new("1/60".parse().unwrap());
        let start = Instant::now();
        for i in 0..3 * MAX_VISITORS as u64 {
            visitors.call(Visitor::Key(i), "/", start + Duration::from_millis(i)).unwrap();
        }
        assert!(visitors.buckets.lock().unwrap().len() <= MAX_VISITORS);
    }
}
