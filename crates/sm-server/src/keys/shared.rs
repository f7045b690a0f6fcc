//! Limits that the replicas of a server share, through Redis.
//!
//! Each limit is a [`Bucket`], of which Redis has the level. A script takes from it in one step and by Redis' clock, so replicas need not
//! agree on the time. What it answers is noted in the replica's own bucket, which tells clients what is left, and counts alone
//! when Redis cannot be reached.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisError, Script};

use super::bucket::Bucket;
use crate::ServerError;
use crate::error::ApiError;

/// How long Redis may take. It is beside the servers, and its answer holds up the request.
const TIMEOUT: Duration = Duration::from_millis(250);

/// What names in Redis begin with.
const PREFIX: &str = "smallmind:limit:";

/// Fills a bucket by the time that has passed, and takes from it: `KEYS` is its name; `ARGV` its limit, its period in milliseconds,
/// what to take, and whether it may go into debt. Returns whether it was taken, and the level. A bucket that is full is forgotten.
const SCRIPT: &str = "
local limit, period, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local rate = limit / period
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local bucket = redis.call('HMGET', KEYS[1], 'level', 'at')
local level, at = tonumber(bucket[1]) or limit, tonumber(bucket[2]) or now
level = math.min(limit, level + math.max(0, now - at) * rate)
local is_taken = ARGV[4] == '1' or level >= cost
if is_taken then level = level - cost end
redis.call('HSET', KEYS[1], 'level', tostring(level), 'at', tostring(math.max(at, now)))
local filling = period
if rate > 0 then filling = (limit - level) / rate end
redis.call('PEXPIRE', KEYS[1], math.ceil(filling) + 1000)
return {is_taken and 1 or 0, tostring(level)}
";

/// What becomes of requests when Redis cannot be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedisFallback {
    /// Each replica applies the limits by itself, so together they let through as many times more as there are replicas.
    #[default]
    Alone,
    /// They are refused with 503.
    Refuse,
}

/// Where limits are shared.
#[derive(Clone)]
pub(crate) struct SharedLimitsConfig {
    /// `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`
    pub(crate) url: String,
    pub(crate) fallback: RedisFallback,
}

impl std::fmt::Debug for SharedLimitsConfig {
    /// Without the address, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedLimitsConfig").field("fallback", &self.fallback).finish_non_exhaustive()
    }
}

/// The limits of a server: its own, or shared with others. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits(Option<Arc<Shared>>);

struct Shared {
    connection: ConnectionManager,
    script: Script,
    fallback: RedisFallback,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("fallback", &self.fallback).finish_non_exhaustive()
    }
}

impl Limits {
    /// Connects when there is something to count, and again whenever the connection is lost.
    ///
    /// # Errors
    /// [`ServerError::Redis`] if the address is none.
    pub(crate) fn new(config: Option<&SharedLimitsConfig>) -> Result<Self, ServerError> {
        let Some(SharedLimitsConfig { url, fallback }) = config else { return Ok(Self(None)) };
        let failed = |error: RedisError| ServerError::Redis { message: error.to_string() };
        let settings = ConnectionManagerConfig::new()
            .set_response_timeout(Some(TIMEOUT))
            .set_connection_timeout(Some(TIMEOUT))
            .set_number_of_retries(1);
        let client = Client::open(url.as_str()).map_err(failed)?;
        let connection = ConnectionManager::new_lazy_with_config(client, settings).map_err(failed)?;
        Ok(Self(Some(Arc::new(Shared { connection, script: Script::new(SCRIPT), fallback: *fallback }))))
    }

    /// Takes one from a bucket that is called `name` wherever it is shared. If there is none, says how long to wait.
    ///
    /// # Errors
    /// If Redis cannot be reached and requests are refused then.
    pub(crate) async fn take(&self, name: &str, bucket: &Bucket) -> Result<Result<(), Duration>, ApiError> {
        let Some(shared) = &self.0 else { return Ok(bucket.take(1, Instant::now())) };
        match shared.run(name, bucket, 1, false).await {
            Ok((is_taken, level)) => {
                bucket.set(level, Instant::now());
                Ok(if is_taken { Ok(()) } else { Err(bucket.time_to_fill(1.0 - level)) })
            }
            Err(message) => {
                tracing::warn!(message, "Redis cannot be reached");
                match shared.fallback {
                    RedisFallback::Alone => Ok(bucket.take(1, Instant::now())),
                    RedisFallback::Refuse => {
                        let message = "the limits of this server cannot be checked now; retry later";
                        Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message))
                    }
                }
            }
        }
    }

    /// Takes `n` from a bucket, even if less is left; from the shared one soon.
    pub(crate) fn charge(&self, name: String, bucket: &Arc<Bucket>, n: u64) {
        bucket.charge(n, Instant::now());
        let (Some(shared), Ok(runtime)) = (&self.0, tokio::runtime::Handle::try_current()) else { return };
        let (shared, bucket) = (Arc::clone(shared), Arc::clone(bucket));
        runtime.spawn(async move {
            match shared.run(&name, &bucket, n, true).await {
                Ok((_, level)) => bucket.set(level, Instant::now()),
                Err(message) => tracing::warn!(message, n, "tokens were not counted in Redis"),
            }
        });
    }
}

impl Shared {
    /// Runs the script.
    async fn run(&self, name: &str, bucket: &Bucket, n: u64, may_owe: bool) -> Result<(bool, f64), String> {
        let mut call = self.script.key(format!("{PREFIX}{name}"));
        let period_ms = u64::try_from(bucket.period().as_millis()).unwrap_or(u64::MAX);
        call.arg(bucket.limit()).arg(period_ms).arg(n).arg(u8::from(may_owe));
        let mut connection = self.connection.clone();
        let running = call.invoke_async::<(u8, f64)>(&mut connection);
        match tokio::time::timeout(2 * TIMEOUT, running).await {
            Ok(Ok((is_taken, level))) => Ok((is_taken == 1, level)),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }
}
