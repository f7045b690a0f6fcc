//! The responses that later requests may go on from.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

/// Responses that are kept at most. The oldest are forgotten first.
const MAX_RESPONSES: usize = 1000;
/// Bytes of JSON that all of them may have together.
const MAX_BYTES: usize = 64 << 20;

/// A response that was given.
#[derive(Debug)]
pub(crate) struct Stored {
    /// The object.
    pub(crate) response: Value,
    /// The items of its request.
    pub(crate) input: Vec<Value>,
    /// The items of the requests and responses before.
    pub(crate) earlier: Vec<Value>,
    /// Who asked: nobody else sees it.
    pub(crate) owner: Option<String>,
}

impl Stored {
    /// All items so far, from which a request goes on.
    pub(crate) fn items(&self) -> Vec<Value> {
        let output = self.response["output"].as_array().into_iter().flatten();
        self.earlier.iter().chain(&self.input).chain(output).cloned().collect()
    }

    fn n_bytes(&self) -> usize {
        let length = |value: &Value| value.to_string().len();
        length(&self.response) + self.input.iter().chain(&self.earlier).map(length).sum::<usize>()
    }
}

/// A bounded number of responses.
#[derive(Debug, Default)]
pub(crate) struct ResponseStore(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    responses: HashMap<String, (Arc<Stored>, usize)>,
    /// Ids from the oldest to the newest, also of some that were deleted.
    order: VecDeque<String>,
    n_bytes: usize,
}

impl Kept {
    fn remove(&mut self, id: &str) {
        if let Some((_, n_bytes)) = self.responses.remove(id) {
            self.n_bytes -= n_bytes;
        }
    }
}

impl ResponseStore {
    /// Nothing panics while holding the lock.
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn insert(&self, id: String, stored: Stored) {
        let n_bytes = stored.n_bytes();
        let mut kept = self.lock();
        kept.n_bytes += n_bytes;
        kept.responses.insert(id.clone(), (Arc::new(stored), n_bytes));
        kept.order.push_back(id);
        while kept.order.len() > MAX_RESPONSES || kept.n_bytes > MAX_BYTES {
            let Some(oldest) = kept.order.pop_front() else { break };
            kept.remove(&oldest);
        }
    }

    /// A response of this owner.
    pub(crate) fn get(&self, id: &str, owner: Option<&str>) -> Option<Arc<Stored>> {
        let kept = self.lock();
        let (stored, _) = kept.responses.get(id)?;
        (stored.owner.as_deref() == owner).then(|| Arc::clone(stored))
    }

    /// Forgets a response of this owner; whether there was one.
    pub(crate) fn remove(&self, id: &str, owner: Option<&str>) -> bool {
        let is_known = self.get(id, owner).is_some();
        if is_known {
            self.lock().remove(id);
        }
        is_known
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stored(text: &str, owner: Option<&str>) -> Stored {
        Stored {
            response: json!({"output": [{"text": text}]}),
            input: vec![json!("in")],
            earlier: vec![json!("before")],
            owner: owner.map(str::to_owned),
        }
    }

    #[test]
    fn the_oldest_are_forgotten_first() {
        let store = ResponseStore::default();
        for idx in 0..=MAX_RESPONSES {
            store.insert(idx.to_string(), stored("x", None));
        }
        assert!(store.get("0", None).is_none() && store.get("1", None).is_some());
        for idx in 0..3 {
            store.insert(format!("large {idx}"), stored(&"x".repeat(MAX_BYTES / 2 - 1000), None));
        }
        assert!(store.get("large 0", None).is_none() && store.get("1", None).is_none());
        assert!(store.get("large 2", None).is_some() && store.lock().n_bytes <= MAX_BYTES);
    }

    #[test]
    fn a_response_belongs_to_who_asked() {
        let store = ResponseStore::default();
        store.insert("a".to_owned(), stored("x", Some("alice")));
        assert!(store.get("a", None).is_none() && !store.remove("a", Some("bob")));
        let items = store.get("a", Some("alice")).unwrap().items();
        assert_eq!(items, [json!("before"), json!("in"), json!({"text": "x"})]);
        assert!(store.remove("a", Some("alice")) && store.get("a", Some("alice")).is_none());
        assert_eq!(store.lock().n_bytes, 0);
    }
}
