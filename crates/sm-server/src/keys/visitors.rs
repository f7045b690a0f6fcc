//! A limit on how often anybody may call an endpoint, with or without a key.

use std::collections::HashMap;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::bucket::Bucket;
use super::shared::Limits;
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
    limits: Limits,
    buckets: Mutex<HashMap<(Visitor, String), Arc<Bucket>>>,
}

impl Visitors {
    pub(crate) fn new(limit: RateLimit, limits: Limits) -> Self {
        Self { limit, limits, buckets: Mutex::default() }
    }

    /// Counts a call.
    ///
    /// # Errors
    /// If there were as many as may be, or that cannot be known.
    pub(crate) async fn call(&self, visitor: Visitor, endpoint: &str) -> Result<(), ApiError> {
        let RateLimit { times, period } = self.limit;
        let name = match visitor {
            Visitor::Key(client) => format!("key:{client:x}:{times}/{}:{endpoint}", period.as_secs()),
            Visitor::Address(address) => {
                let address = address.map(|address| address.to_string()).unwrap_or_default();
                format!("address:{address}:{times}/{}:{endpoint}", period.as_secs())
            }
        };
        let bucket = self.bucket(visitor, endpoint, Instant::now());
        self.limits.take(&name, &bucket).await?.map_err(|wait| {
            let seconds = period.as_secs();
            let message = format!("{endpoint} takes {times} requests in {seconds} s from each caller");
            ApiError::rate_limited(message, wait)
        })
    }

    fn bucket(&self, visitor: Visitor, endpoint: &str, now: Instant) -> Arc<Bucket> {
        let RateLimit { times, period } = self.limit;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_VISITORS {
            buckets.retain(|_, bucket| bucket.left(now).reset > Duration::ZERO);
            if buckets.len() >= MAX_VISITORS {
                buckets.clear();
            }
        }
        let bucket = buckets.entry((visitor, endpoint.to_owned()));
        Arc::clone(bucket.or_insert_with(|| Arc::new(Bucket::new(times, period, now))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_caller_has_its_own_limit_for_each_endpoint() {
        let visitors = Visitors::new("10/60".parse().unwrap(), Limits::default());
        let [a, b] = [Visitor::Key(1), Visitor::Address(None)];
        for _ in 0..10 {
            visitors.call(a, "/generate").await.unwrap();
        }
        visitors.call(a, "/generate").await.unwrap_err();
        visitors.call(a, "/solve/math").await.unwrap();
        visitors.call(b, "/generate").await.unwrap();
        for wrong in ["", "10", "10/0", "x/60", "-1/60"] {
            wrong.parse::<RateLimit>().unwrap_err();
        }
    }

    #[test]
    fn visitors_do_not_pile_up() {
        let visitors = Visitors::new("1/60".parse().unwrap(), Limits::default());
        let start = Instant::now();
        for i in 0..3 * MAX_VISITORS as u64 {
            let now = start + Duration::from_millis(i);
            visitors.bucket(Visitor::Key(i), "/", now).take(1, now).unwrap();
        }
        assert!(visitors.buckets.lock().unwrap().len() <= MAX_VISITORS);
    }
}
