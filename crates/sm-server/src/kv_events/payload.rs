//! The payload of a message.

use axum::body::Bytes;
use serde::Serialize;
use sm_runtime::{CachedPage, PageKey};

/// Where the pages are, in vLLM's words: in the memory that steps read, also where that is the processor's. "CPU" is a slower copy, which
/// routers count for less.
const MEDIUM: &str = "GPU";

/// The rank among engines that share a model's requests: there is one.
const RANK: u32 = 0;

/// An event, as a map with its name as `type`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type")]
pub(super) enum BlockEvent {
    /// Other requests can find these blocks, each of which follows the one before.
    BlockStored {
        block_hashes: Vec<u64>,
        parent_block_hash: Option<u64>,
        token_ids: Vec<u32>,
        block_size: usize,
        lora_id: Option<u64>,
        medium: &'static str,
        lora_name: Option<String>,
    },
    /// Nobody can find these blocks any more.
    BlockRemoved { block_hashes: Vec<u64>, medium: &'static str },
    /// There are no blocks.
    AllBlocksCleared,
}

fn hash(key: PageKey) -> u64 {
    key.0 as u64
}

impl BlockEvent {
    pub(super) fn stored(page: &CachedPage<'_>) -> Self {
        Self::BlockStored {
            block_hashes: vec![hash(page.key)],
            parent_block_hash: Some(hash(page.parent)).filter(|_| !page.is_first),
            token_ids: page.tokens.iter().map(|token| token.0).collect(),
            block_size: page.tokens.len(),
            lora_id: None,
            medium: MEDIUM,
            lora_name: None,
        }
    }

    pub(super) fn removed(key: PageKey) -> Self {
        Self::BlockRemoved { block_hashes: vec![hash(key)], medium: MEDIUM }
    }

    /// Takes in the next event, if both are of one kind and the blocks follow each other.
    fn join(&mut self, next: Self) -> Option<Self> {
        match (self, next) {
            (
                Self::BlockStored { block_hashes, token_ids, .. },
                Self::BlockStored { block_hashes: hashes, parent_block_hash, token_ids: tokens, .. },
            ) if parent_block_hash.is_some() && parent_block_hash.as_ref() == block_hashes.last() => {
                block_hashes.extend(hashes);
                token_ids.extend(tokens);
                None
            }
            (Self::BlockRemoved { block_hashes, .. }, Self::BlockRemoved { block_hashes: hashes, .. }) => {
                block_hashes.extend(hashes);
                None
            }
            (_, next) => Some(next),
        }
    }
}

/// The payload of events at a time in seconds since 1970.
pub(super) fn payload(now: f64, events: impl Iterator<Item = BlockEvent>) -> Bytes {
    let mut joined: Vec<BlockEvent> = Vec::new();
    for event in events {
        let rest = match joined.last_mut() {
            Some(last) => last.join(event),
            None => Some(event),
        };
        joined.extend(rest);
    }
    let mut bytes = Vec::new();
    let mut serializer = rmp_serde::Serializer::new(&mut bytes).with_struct_map();
    (now, joined, RANK).serialize(&mut serializer).expect("numbers and texts can be written to memory");
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(hash: u64, parent: Option<u64>) -> BlockEvent {
        BlockEvent::BlockStored {
            block_hashes: vec![hash],
            parent_block_hash: parent,
            token_ids: vec![hash as u32; 2],
            block_size: 2,
            lora_id: None,
            medium: MEDIUM,
            lora_name: None,
        }
    }

    #[test]
    fn blocks_that_follow_each_other_are_one_event() {
        let removed = |hash| BlockEvent::BlockRemoved { block_hashes: vec![hash], medium: MEDIUM };
        let events = [
            stored(1, None),
            stored(2, Some(1)),
            stored(3, Some(1)),
            removed(2),
            removed(1),
            BlockEvent::AllBlocksCleared,
        ];
        let bytes = payload(1.5, events.into_iter());
        let value: serde_json::Value = rmp_serde::from_slice(&bytes).unwrap();
        let empty = serde_json::Value::Null;
        let expected = serde_json::json!([1.5, [
            {"type": "BlockStored", "block_hashes": [1, 2], "parent_block_hash": empty, "token_ids": [1, 1, 2, 2],
             "block_size": 2, "lora_id": empty, "medium": "GPU", "lora_name": empty},
            {"type": "BlockStored", "block_hashes": [3], "parent_block_hash": 1, "token_ids": [3, 3],
             "block_size": 2, "lora_id": empty, "medium": "GPU", "lora_name": empty},
            {"type": "BlockRemoved", "block_hashes": [2, 1], "medium": "GPU"},
            {"type": "AllBlocksCleared"},
        ], 0]);
        assert_eq!(value, expected);
    }
}
