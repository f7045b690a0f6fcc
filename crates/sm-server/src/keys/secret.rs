//! Keys as secrets: how they are made, and what is kept of them.
//!
//! A key has 256 random bits, so a plain SHA-256 of it cannot be inverted: slow hashes are for passwords, which people choose.

use std::fmt::Write;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What keys begin with, so that scanners for leaked secrets find them.
const PREFIX: &str = "sm-";

/// How a file of keys begins a digest.
const SCHEME: &str = "sha256:";

/// What is kept of a key.
#[derive(Clone, Copy)]
pub(crate) struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// The digest of a key.
    pub(crate) fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// As it stands in a file: `sha256:` and 64 hexadecimal digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(SCHEME).filter(|digits| digits.len() == 64 && digits.is_ascii())?;
        let mut bytes = [0; 32];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// Whether both are the same, in a time that does not depend on where they differ.
    pub(crate) fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// A number for it, by which the scheduler knows the client.
    pub(crate) fn client(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        // 0 is everybody without a key.
        u64::from_le_bytes([a, b, c, d, e, f, g, h]).max(1)
    }

    pub(super) fn to_text(self) -> String {
        SCHEME.to_owned() + &hex(&self.0)
    }
}

impl std::fmt::Debug for KeyDigest {
    /// The first digits tell keys apart.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyDigest({}…)", hex(&self.0[..4]))
    }
}

/// A new key.
///
/// ```
/// use sm_server::NewKey;
///
/// let key = NewKey::random()?;
/// assert!(key.key.starts_with("sm-") && key.hash.starts_with("sha256:"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewKey {
    /// The key, for the client alone.
    pub key: String,
    /// Its hash, for the server's file of keys.
    pub hash: String,
}

impl NewKey {
    /// A key of 256 bits from the system's generator.
    ///
    /// # Errors
    /// If the system has none.
    pub fn random() -> Result<Self, std::io::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        let key = PREFIX.to_owned() + &hex(&bytes);
        let hash = KeyDigest::of(&key).to_text();
        Ok(Self { key, hash })
    }
}

impl std::fmt::Debug for NewKey {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewKey").field("hash", &self.hash).finish_non_exhaustive()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_that_of_any_tool() {
        // printf abc | sha256sum
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(KeyDigest::of("abc").to_text(), text);
        let digest = KeyDigest::parse(text).unwrap();
        assert!(digest.matches(&KeyDigest::of("abc")) && !digest.matches(&KeyDigest::of("abd")));
        for wrong in
            ["", "sha256:", "ba78", &text[..70], &text.replace("ba78", "bé8"), &text.replace('b', "x")]
        {
            assert!(KeyDigest::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn new_keys_differ_and_match_their_hashes() {
        let [a, b] = [NewKey::random().unwrap(), NewKey::random().unwrap()];
        assert_ne!(a.key, b.key);
        assert!(KeyDigest::parse(&a.hash).unwrap().matches(&KeyDigest::of(&a.key)));
        assert!(!format!("{a:?}").contains(&a.key));
    }
}
