//! A key with its account: what it allows, and what has been used of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sm_runtime::Priority;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::bucket::{Bucket, Left};
use super::file::Rules;
use super::secret::KeyDigest;
use super::shared::Limits;
use crate::error::ApiError;

const MINUTE: Duration = Duration::from_secs(60);

/// A key.
#[derive(Debug)]
pub(crate) struct Key {
    pub(super) digest: KeyDigest,
    pub(super) rules: Rules,
    requests: Option<Bucket>,
    tokens: Option<Arc<Bucket>>,
    limits: Limits,
    running: Option<Arc<Semaphore>>,
}

impl Key {
    pub(super) fn new(digest: KeyDigest, rules: Rules, limits: Limits) -> Self {
        let now = Instant::now();
        let bucket = |limit: Option<u32>| limit.map(|limit| Bucket::new(limit, MINUTE, now));
        let running = rules.max_concurrent.map(|limit| Arc::new(Semaphore::new(limit as usize)));
        Self {
            digest,
            requests: bucket(rules.requests_per_minute),
            tokens: bucket(rules.tokens_per_minute).map(Arc::new),
            limits,
            running,
            rules,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.rules.name
    }

    pub(crate) fn is_admin(&self) -> bool {
        self.rules.admin
    }

    /// The number by which the scheduler knows it.
    pub(crate) fn client(&self) -> u64 {
        self.digest.client()
    }

    /// The salt of its requests: its own if its cache is private.
    pub(crate) fn salt(&self, salt: &str) -> String {
        match self.rules.private_cache {
            true => format!("{:x}:{salt}", self.client()),
            false => salt.to_owned(),
        }
    }

    /// The priority of a request that asks for one. A request that asks for nothing special has that of the key.
    pub(crate) fn priority(&self, asked: Priority) -> Priority {
        let own = self.rules.priority.into();
        if asked == Priority::Normal { own } else { asked.min(own) }
    }

    /// Checks that a model may be used, by any of its names.
    ///
    /// # Errors
    /// If not.
    pub(crate) fn check_model(&self, names: &[&str]) -> Result<(), ApiError> {
        match &self.rules.models {
            Some(allowed) if !names.iter().any(|name| allowed.iter().any(|known| known == name)) => {
                let allowed = allowed.join(", ");
                let name = names.first().copied().unwrap_or_default();
                Err(ApiError::forbidden(format!(
                    "this key may not use the model {name:?}; it may use {allowed}"
                )))
            }
            _ => Ok(()),
        }
    }

    /// Counts a request against the limits per minute.
    ///
    /// # Errors
    /// If one is used up, or cannot be known.
    pub(crate) async fn take_request(&self) -> Result<(), ApiError> {
        if let Some(tokens) = &self.tokens {
            self.limits.take(&self.shared_name("tokens"), tokens).await?.map_err(|wait| {
                let limit = self.rules.tokens_per_minute.unwrap_or_default();
                ApiError::rate_limited(
                    format!("this key's limit of {limit} tokens per minute is used up"),
                    wait,
                )
            })?;
        }
        if let Some(requests) = &self.requests {
            self.limits.take(&self.shared_name("requests"), requests).await?.map_err(|wait| {
                let limit = self.rules.requests_per_minute.unwrap_or_default();
                let message = format!("this key's limit of {limit} requests per minute is used up");
                ApiError::rate_limited(message, wait)
            })?;
        }
        Ok(())
    }

    /// What a limit is called where it is shared.
    fn shared_name(&self, of: &str) -> String {
        format!("key:{:x}:{of}", self.client())
    }

    /// Counts a request as running until the permit is dropped.
    ///
    /// # Errors
    /// If as many run as may.
    pub(crate) fn begin(&self) -> Result<Option<OwnedSemaphorePermit>, ApiError> {
        let Some(running) = &self.running else { return Ok(None) };
        Arc::clone(running).try_acquire_owned().map(Some).map_err(|_| {
            let limit = self.rules.max_concurrent.unwrap_or_default();
            let message = format!("this key's limit of {limit} requests at a time is reached");
            ApiError::rate_limited(message, Duration::from_secs(1))
        })
    }

    /// Counts the tokens of an answer that has ended.
    pub(crate) fn charge_tokens(&self, n_tokens: u64) {
        if let Some(tokens) = &self.tokens {
            // One was taken when it began.
            self.limits.charge(self.shared_name("tokens"), tokens, n_tokens.saturating_sub(1));
        }
    }

    /// What is left of requests and of tokens.
    pub(crate) fn left(&self) -> [(&'static str, Option<Left>); 2] {
        let now = Instant::now();
        let left = |bucket: Option<&Bucket>| bucket.map(|bucket| bucket.left(now));
        [("requests", left(self.requests.as_ref())), ("tokens", left(self.tokens.as_deref()))]
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::KeyPriority;
    use super::*;

    fn key(rules: Rules) -> Key {
        Key::new(KeyDigest::of("abc"), Rules { name: "a".into(), ..rules }, Limits::default())
    }

    #[test]
    fn a_request_that_asks_for_nothing_has_the_priority_of_its_key_and_none_has_more() {
        let low = key(Rules { priority: KeyPriority::Low, ..Rules::default() });
        let high = key(Rules { priority: KeyPriority::High, ..Rules::default() });
        for (key, asked, expected) in [
            (&low, Priority::Normal, Priority::Low),
            (&low, Priority::Critical, Priority::Low),
            (&high, Priority::Normal, Priority::High),
            (&high, Priority::Low, Priority::Low),
            (&high, Priority::Critical, Priority::High),
        ] {
            assert_eq!(key.priority(asked), expected, "{asked:?}");
        }
    }

    #[test]
    fn models_are_allowed_by_any_of_their_names() {
        let key = key(Rules { models: Some(vec!["gpt-4o".into()]), ..Rules::default() });
        key.check_model(&["demo", "gpt-4o"]).unwrap();
        key.check_model(&["demo"]).unwrap_err();
    }

    #[test]
    fn as_many_run_as_may() {
        let key = key(Rules { max_concurrent: Some(1), ..Rules::default() });
        let first = key.begin().unwrap();
        key.begin().unwrap_err();
        drop(first);
        key.begin().unwrap();
    }

    #[tokio::test]
    async fn tokens_are_charged_when_they_are_known() {
        let key = key(Rules { tokens_per_minute: Some(100), ..Rules::default() });
        key.take_request().await.unwrap();
        key.charge_tokens(150);
        key.take_request().await.unwrap_err();
        let [(_, None), (_, Some(left))] = key.left() else { panic!("a limit of tokens") };
        assert_eq!((left.limit, left.remaining), (100, 0));
    }
}
