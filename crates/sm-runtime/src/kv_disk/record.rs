//! Record headers: identity and checksums.

use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher13};
use sm_cache::PageKey;
use sm_kernels::plan::PAGE_LEN;
use sm_tensor::TokenId;

/// Size of a header.
pub(super) const HEADER_BYTES: usize = 8 + 16 + 16 + 16 + 4 * PAGE_LEN + 16;

/// The kind of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordKind {
    /// The keys and values of a page.
    Page,
    /// The recurrent state after a page.
    State,
}

/// Identifies a page, and the state after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordName {
    pub(super) key: PageKey,
    /// The key of the preceding page.
    pub(super) parent: PageKey,
    /// The page's own tokens, compared on every hit because hashes can collide.
    pub(super) tokens: [TokenId; PAGE_LEN],
}

/// A record header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) name: RecordName,
    /// Sequence number of the write, from 1.
    pub(super) number: u64,
    /// The checksum of the payload.
    pub(super) sum: u128,
}

/// Computes checksums bound to one slot of one file: a record from elsewhere counts as damaged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seal {
    /// Covers everything that determines a record's content besides its tokens.
    pub(super) fingerprint: u128,
}

impl Seal {
    /// The checksum of bytes in a slot.
    pub(super) fn sum(self, slot: u32, bytes: &[u8]) -> u128 {
        let mut hasher = SipHasher13::new_with_key(&self.fingerprint.to_le_bytes());
        hasher.write(&slot.to_le_bytes());
        hasher.write(bytes);
        hasher.finish128().as_u128()
    }
}

impl Header {
    /// The on-disk header; integers are little-endian.
    pub(super) fn to_bytes(self, seal: Seal, slot: u32) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut rest = &mut bytes[..];
        let mut put = |part: &[u8]| {
            let (field, behind) = std::mem::take(&mut rest).split_at_mut(part.len());
            field.copy_from_slice(part);
            rest = behind;
        };
        put(&self.number.to_le_bytes());
        put(&self.name.key.0.to_le_bytes());
        put(&self.name.parent.0.to_le_bytes());
        put(&self.sum.to_le_bytes());
        self.name.tokens.iter().for_each(|token| put(&token.0.to_le_bytes()));
        let (sealed, sum) = bytes.split_at_mut(HEADER_BYTES - 16);
        sum.copy_from_slice(&seal.sum(slot, sealed).to_le_bytes());
        bytes
    }

    /// Parses a header; `None` if it is damaged.
    pub(super) fn from_bytes(bytes: &[u8; HEADER_BYTES], seal: Seal, slot: u32) -> Option<Self> {
        let (sealed, header_sum) = bytes.split_at(HEADER_BYTES - 16);
        if seal.sum(slot, sealed).to_le_bytes() != *header_sum {
            return None;
        }
        let (number, rest) = sealed.split_first_chunk()?;
        let (key, rest) = rest.split_first_chunk()?;
        let (parent, rest) = rest.split_first_chunk()?;
        let (sum, rest) = rest.split_first_chunk()?;
        let mut tokens = [TokenId(0); PAGE_LEN];
        for (token, bytes) in tokens.iter_mut().zip(rest.as_chunks().0) {
            *token = TokenId(u32::from_le_bytes(*bytes));
        }
        let [key, parent] = [key, parent].map(|bytes| PageKey(u128::from_le_bytes(*bytes)));
        let name = RecordName { key, parent, tokens };
        Some(Self { name, number: u64::from_le_bytes(*number), sum: u128::from_le_bytes(*sum) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written_and_no_flipped_bit_passes() {
        let mut tokens = [TokenId(7); PAGE_LEN];
        tokens[3] = TokenId(u32::MAX);
        let name = RecordName { key: PageKey(5 << 100), parent: PageKey(3), tokens };
        let header = Header { name, number: 9, sum: u128::MAX - 2 };
        let seal = Seal { fingerprint: 1 };
        let mut bytes = header.to_bytes(seal, 4);
        assert_eq!(Header::from_bytes(&bytes, seal, 4), Some(header));
        assert_eq!(Header::from_bytes(&bytes, seal, 5), None, "another slot");
        assert_eq!(Header::from_bytes(&bytes, Seal { fingerprint: 2 }, 4), None, "another model");
        for bit in 0..8 * HEADER_BYTES {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::from_bytes(&bytes, seal, 4), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
