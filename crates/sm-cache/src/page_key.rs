//! Page keys: a keyed hash chain over pages.
//!
//! ```text
//! root  = H(len, model, len, kv_dtype, len, adapter, len, salt)
//! key_i = H(key_{i-1}, tokens of page i)            key_{-1} = root
//! ```
//!
//! A key identifies a page's tokens and, through its parent, all preceding tokens and the namespace. This is vLLM's block
//! hashing (<https://docs.vllm.ai/en/latest/design/prefix_caching/>).
//!
//! `H` is SipHash-2-4 with 128-bit output (Aumasson and Bernstein, <https://eprint.iacr.org/2012/351>). It is keyed, so a
//! client without the key cannot construct collisions; stable across processes, so keys can identify pages in files; and
//! fast on inputs as short as one page.

use std::fmt;
use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher24};
use sm_tensor::TokenId;

use crate::namespace::Namespace;

/// Identifies a page's content: a keyed hash of the namespace and all tokens up to the page's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PageKey(pub u128);

impl fmt::Display for PageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Computes page keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyHasher {
    hash_key: [u8; 16],
}

impl KeyHasher {
    pub(crate) fn new(hash_key: [u8; 16]) -> Self {
        Self { hash_key }
    }

    /// The parent of a sequence's first page.
    pub(crate) fn root(self, namespace: &Namespace) -> PageKey {
        let mut hasher = SipHasher24::new_with_key(&self.hash_key);
        for field in namespace.fields() {
            // Lengths keep ("ab", "c") and ("a", "bc") apart.
            hasher.write(&(field.len() as u64).to_le_bytes());
            hasher.write(field.as_bytes());
        }
        PageKey(hasher.finish128().as_u128())
    }

    /// The page with `tokens` that follows `parent`.
    pub(crate) fn child(self, parent: PageKey, tokens: &[TokenId]) -> PageKey {
        let mut hasher = SipHasher24::new_with_key(&self.hash_key);
        hasher.write(&parent.0.to_le_bytes());
        for token in tokens {
            hasher.write(&token.0.to_le_bytes());
        }
        PageKey(hasher.finish128().as_u128())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(salt: &str) -> Namespace {
        Namespace { model: "m".into(), kv_dtype: "f16".into(), adapter: String::new(), salt: salt.into() }
    }

    #[test]
    fn keys_are_stable() {
        let hasher = KeyHasher::new([7; 16]);
        let root = hasher.root(&namespace("salt"));
        let page = hasher.child(root, &(1..5).map(TokenId).collect::<Vec<_>>());
        // From an independent implementation in Python that reproduces the test vectors of the hash's authors.
        assert_eq!(root.to_string(), "20d98d9541e09a6b8650b98b42be8d9c");
        assert_eq!(page.to_string(), "119f5b04364a165e26c8474c8ed0d32a");
        assert_ne!(KeyHasher::new([8; 16]).root(&namespace("salt")), root);
    }

    #[test]
    fn the_borders_of_fields_count() {
        let hasher = KeyHasher::new([0; 16]);
        let fields = |model: &str, adapter: &str| Namespace {
            model: model.into(),
            adapter: adapter.into(),
            ..Namespace::default()
        };
        assert_ne!(hasher.root(&fields("ab", "c")), hasher.root(&fields("a", "bc")));
    }
}
