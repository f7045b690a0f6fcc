//! Answers that are sent again: those to requests that say so themselves, being greedy or seeded.
//!
//! Such a request has one answer, so it may come from memory. It is the whole body that must be the same, however its fields are
//! ordered, and the key, so that nobody learns what others have asked.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use serde_json::{Map, Value};

/// An answer as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CachedAnswer {
    pub(crate) content_type: String,
    pub(crate) body: Bytes,
}

/// What an answer belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Asked {
    endpoint: String,
    /// 0 without a key.
    client: u64,
    /// The fields, sorted at every depth.
    body: String,
}

/// The latest answers.
#[derive(Debug)]
pub(crate) struct ResponseCache {
    max_entries: usize,
    max_age: Duration,
    entries: Mutex<HashMap<Asked, Entry>>,
}

#[derive(Debug)]
struct Entry {
    answer: CachedAnswer,
    made: Instant,
    last_use: Instant,
}

impl Asked {
    /// What a body asks for; `None` if it may be answered in more than one way, or as a stream.
    pub(crate) fn of(endpoint: &str, client: u64, body: &[u8]) -> Option<Self> {
        let Ok(Value::Object(fields)) = serde_json::from_slice(body) else { return None };
        let is_greedy = fields.get("temperature").and_then(Value::as_f64) == Some(0.0)
            || fields.get("do_sample") == Some(&Value::Bool(false));
        let is_seeded = fields.get("seed").is_some_and(|seed| seed.as_i64().is_some_and(|seed| seed >= 0));
        let is_stream = fields.get("stream") == Some(&Value::Bool(true));
        let keeps_state = fields.contains_key("session_id") || fields.contains_key("previous_response_id");
        if is_stream || keeps_state || !(is_greedy || is_seeded) {
            return None;
        }
        let body = sorted(Value::Object(fields)).to_string();
        Some(Self { endpoint: endpoint.to_owned(), client, body })
    }
}

/// A value whose objects have their fields in order.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(values) => values.into_iter().map(sorted).collect(),
        Value::Object(fields) => {
            let mut fields: Vec<(String, Value)> = fields.into_iter().collect();
            fields.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(
                fields.into_iter().map(|(name, value)| (name, sorted(value))).collect::<Map<_, _>>(),
            )
        }
        other => other,
    }
}

impl ResponseCache {
    pub(crate) fn new(max_entries: usize, max_age: Duration) -> Self {
        Self { max_entries, max_age, entries: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Asked, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer, if it was given not long ago.
    pub(crate) fn find(&self, asked: &Asked, now: Instant) -> Option<CachedAnswer> {
        let mut entries = self.lock();
        let entry = entries.get_mut(asked)?;
        if now.saturating_duration_since(entry.made) > self.max_age {
            entries.remove(asked);
            return None;
        }
        entry.last_use = now;
        Some(entry.answer.clone())
    }

    /// Keeps an answer, in the place of the one that was used longest ago.
    pub(crate) fn keep(&self, asked: Asked, answer: CachedAnswer, now: Instant) {
        let mut entries = self.lock();
        if entries.len() >= self.max_entries && !entries.contains_key(&asked) {
            let oldest =
                entries.iter().min_by_key(|(_, entry)| entry.last_use).map(|(asked, _)| asked.clone());
            if let Some(oldest) = oldest {
                entries.remove(&oldest);
            }
        }
        if self.max_entries > 0 {
            entries.insert(asked, Entry { answer, made: now, last_use: now });
        }
    }

    /// Forgets all answers.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(body: &str) -> Option<Asked> {
        Asked::of("/v1/completions", 0, body.as_bytes())
    }

    #[test]
    fn only_what_has_one_answer_is_kept() {
        for (body, is_kept) in [
            (r#"{"prompt": "a", "temperature": 0}"#, true),
            (r#"{"prompt": "a", "temperature": 0.0}"#, true),
            (r#"{"prompt": "a", "seed": 7}"#, true),
            (r#"{"prompt": "a", "do_sample": false}"#, true),
            (r#"{"prompt": "a"}"#, false),
            (r#"{"prompt": "a", "temperature": 1}"#, false),
            (r#"{"prompt": "a", "seed": null}"#, false),
            (r#"{"prompt": "a", "seed": -1}"#, false),
            (r#"{"prompt": "a", "temperature": 0, "stream": true}"#, false),
            ("[]", false),
        ] {
            assert_eq!(asked(body).is_some(), is_kept, "{body}");
        }
        let [a, b] =
            [r#"{"seed": 1, "a": {"b": 1, "c": 2}}"#, r#"{"a": {"c": 2, "b": 1}, "seed": 1}"#].map(asked);
        assert!(a.is_some() && a == b, "the order of fields means nothing");
        assert_ne!(asked(r#"{"seed": 1}"#), Asked::of("/v1/completions", 5, br#"{"seed": 1}"#));
    }

    #[test]
    fn answers_expire_and_make_room_for_others() {
        let cache = ResponseCache::new(2, Duration::from_secs(60));
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let key = |seed: u32| asked(&format!("{{\"seed\": {seed}}}")).unwrap();
        let answer =
            |text: &'static str| CachedAnswer { content_type: "text".into(), body: Bytes::from(text) };
        cache.keep(key(1), answer("a"), at(0));
        cache.keep(key(2), answer("b"), at(1));
        assert_eq!(cache.find(&key(1), at(2)), Some(answer("a")));
        cache.keep(key(3), answer("c"), at(3));
        assert_eq!(cache.find(&key(2), at(4)), None, "used longest ago");
        assert_eq!(cache.find(&key(1), at(60)), Some(answer("a")));
        assert_eq!(cache.find(&key(1), at(61)), None);
        cache.clear();
        assert_eq!(cache.find(&key(3), at(5)), None);
    }
}
