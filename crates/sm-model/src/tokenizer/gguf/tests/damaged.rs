//! Reads the vocabulary files of the test data, which a text filter has damaged.
//!
//! In these copies every byte that was not valid UTF-8 has become U+FFFD. Texts are intact, since they are UTF-8. Numbers have
//! lost their bytes from 128 on, and everything behind them has moved. So arrays are read up to the next key instead of by their
//! counts, lost numbers are skipped, and scores are reconstructed by the rule of Llama's vocabulary.

use crate::metadata::{Array, Metadata, Value};

const LOST: &[u8] = "\u{FFFD}".as_bytes();

/// The metadata of a damaged file, without the scalars that are lost.
pub(super) fn read(bytes: &[u8]) -> Metadata {
    let mut reader = Reader { bytes, at: 24 };
    let mut metadata = Metadata::default();
    let mut scores: &[u8] = &[];
    while reader.at < bytes.len() {
        let len = key_at(bytes, reader.at).expect("a key");
        let key = std::str::from_utf8(&bytes[reader.at + 8..reader.at + 8 + len]).unwrap().to_owned();
        let kind = bytes[reader.at + 8 + len];
        reader.at += 8 + len + 4;
        if key == "tokenizer.ggml.scores" {
            scores = &bytes[reader.at..reader.next_key()];
        }
        if let Some(value) = reader.value(kind) {
            metadata.insert(key, value);
        }
    }
    if metadata.get("tokenizer.ggml.model").unwrap() == Some("llama") {
        let scores = llama_scores(metadata.require("tokenizer.ggml.tokens").unwrap(), scores);
        metadata.insert("tokenizer.ggml.scores", Value::Array(Array::F32(scores)));
    }
    metadata
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self, kind: u8) -> Option<Value> {
        let end = self.next_key();
        let content = &self.bytes[self.at..end];
        match (kind, content.len()) {
            (9, _) => return self.array(end),
            (4, 4) => {
                self.at = end;
                return Some(Value::U32(u32::from_le_bytes(content.try_into().unwrap())));
            }
            (7, 1) => {
                self.at = end;
                return Some(Value::Bool(content[0] != 0));
            }
            (8, _) if !content[..8].contains(&LOST[0]) => {
                self.at = end;
                return Some(Value::String(String::from_utf8(content[8..].to_vec()).unwrap()));
            }
            _ => {}
        }
        self.at = end;
        None
    }

    /// The array that extends to `end`: its type, its length, its items.
    fn array(&mut self, end: usize) -> Option<Value> {
        let kind = self.bytes[self.at];
        self.at += 4;
        self.skip_number();
        let array = match kind {
            6 => None,
            8 => {
                let mut texts = Vec::new();
                while self.at < end {
                    texts.push(self.text(end));
                }
                Some(Array::String(texts))
            }
            5 => {
                let items = self.bytes[self.at..end].chunks_exact(4);
                Some(Array::I32(items.map(|item| i32::from_le_bytes(item.try_into().unwrap())).collect()))
            }
            _ => panic!("array of type {kind}"),
        };
        self.at = end;
        array.map(Value::Array)
    }

    fn text(&mut self, end: usize) -> String {
        let given = u64::from_le_bytes(self.bytes[self.at..self.at + 8].try_into().unwrap());
        let lost = self.bytes[self.at..self.at + 8].starts_with(LOST);
        self.skip_number();
        let len = if lost { self.len_to_next_text(end) } else { usize::try_from(given).unwrap() };
        let text = String::from_utf8(self.bytes[self.at..self.at + len].to_vec()).unwrap();
        self.at += len;
        text
    }

    /// The length of a text whose length is lost: the next one, a byte and seven zeros, ends it.
    fn len_to_next_text(&self, end: usize) -> usize {
        let rest = &self.bytes[self.at..end];
        let Some(zeros) = rest.windows(7).position(|window| window == [0; 7]) else { return rest.len() };
        if rest[..zeros].ends_with(LOST) { zeros - LOST.len() } else { zeros - 1 }
    }

    /// Skips a number of eight bytes. If some are lost (even two to one U+FFFD), it ends with the last of its zeros.
    fn skip_number(&mut self) {
        if !self.bytes[self.at..self.at + 8].contains(&LOST[0]) {
            self.at += 8;
            return;
        }
        for zero in [true, false, true] {
            while (self.bytes[self.at] == 0) == zero {
                self.at += 1;
            }
        }
    }

    fn next_key(&self) -> usize {
        (self.at..self.bytes.len()).find(|&at| key_at(self.bytes, at).is_some()).unwrap_or(self.bytes.len())
    }
}

/// The length of the metadata key whose length is at this offset, if there is one.
fn key_at(bytes: &[u8], at: usize) -> Option<usize> {
    let len = u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?);
    let len = usize::try_from(len).ok().filter(|len| (12..64).contains(len))?;
    let key = bytes.get(at + 8..at + 8 + len)?;
    let kind = bytes.get(at + 8 + len..at + 12 + len)?;
    let named =
        ["tokenizer.", "general.", "llama.", "phi3.", "falcon.", "gpt2.", "gptneox.", "mpt.", "starcoder"];
    let is_key = named.iter().any(|name| key.starts_with(name.as_bytes()))
        && key.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_'))
        && kind[0] <= 12
        && kind[1..] == [0; 3];
    is_key.then_some(len)
}

/// The scores of Llama's vocabulary: 0 for bytes, then counting down from 0, and lowest for runs of spaces. What is left of the
/// file's scores is compared with them.
fn llama_scores(texts: &[String], damaged: &[u8]) -> Vec<f32> {
    let score = |(id, text): (usize, &String)| match id {
        ..259 => 0.0,
        _ if text.chars().all(|character| character == '▁') => -1e9,
        _ => -((id - 259) as f32),
    };
    let scores: Vec<f32> = texts.iter().enumerate().map(score).collect();
    let trained: Vec<u8> = scores[3..32_000].iter().flat_map(|score| score.to_le_bytes()).collect();
    let trained = String::from_utf8_lossy(&trained[..trained.len() - 4]).into_owned();
    let damaged = std::str::from_utf8(damaged).unwrap();
    assert!(damaged.contains(trained.trim_end_matches('\u{FFFD}')), "the file has other scores");
    scores
}
