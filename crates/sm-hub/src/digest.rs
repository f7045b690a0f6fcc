//! The two checksums by which the hub names contents: SHA-256 of large files, and git's hash of small ones.

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::names::is_hex;

/// What a file's contents must hash to; also the name of its blob in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Checksum {
    /// SHA-256 of a file in large file storage.
    Sha256(String),
    /// Git's hash of a file in the repository: SHA-1 of `blob LENGTH\0` and the contents.
    Git(String),
}

impl Checksum {
    /// Takes a hash by its length.
    pub(crate) fn of_hex(hex: &str) -> Option<Self> {
        match hex.len() {
            64 if is_hex(hex, 64) => Some(Self::Sha256(hex.to_owned())),
            40 if is_hex(hex, 40) => Some(Self::Git(hex.to_owned())),
            _ => None,
        }
    }

    /// The hexadecimal digits.
    pub(crate) fn hex(&self) -> &str {
        let (Self::Sha256(hex) | Self::Git(hex)) = self;
        hex
    }

    /// A hasher for contents of `len` bytes.
    pub(crate) fn hasher(&self, len: u64) -> Hasher {
        match self {
            Self::Sha256(_) => Hasher::Sha256(Sha256::new()),
            Self::Git(_) => Hasher::Git(Sha1::new_with_prefix(format!("blob {len}\0"))),
        }
    }
}

/// Hashes contents piece by piece.
#[derive(Clone, Debug)]
pub(crate) enum Hasher {
    Sha256(Sha256),
    Git(Sha1),
}

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Git(hasher) => hasher.update(bytes),
        }
    }

    /// The hash in hexadecimal.
    pub(crate) fn finish(self) -> String {
        match self {
            Self::Sha256(hasher) => hex(&hasher.finalize()),
            Self::Git(hasher) => hex(&hasher.finalize()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_sha256sum_and_git_hash_object() {
        for (hash, expected) in [
            ("ab".repeat(32), "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"),
            ("ab".repeat(20), "ce013625030ba8dba906f756967f9e9ca394464a"),
        ] {
            let mut hasher = Checksum::of_hex(&hash).unwrap().hasher(6);
            hasher.update(b"hel");
            hasher.update(b"lo\n");
            assert_eq!(hasher.finish(), expected);
        }
        for other in ["", "abc", &"AB".repeat(32), &"../".repeat(20)[..40]] {
            assert_eq!(Checksum::of_hex(other), None);
        }
    }
}
