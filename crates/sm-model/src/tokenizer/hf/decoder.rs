//! The `decoder` of `tokenizer.json`: the bytes of each vocabulary piece.
//!
//! The library decodes whole sequences of pieces. We turn each piece into bytes once, at load, so that a text is the bytes of
//! its tokens in a row, which is what streaming needs. Where pieces are words, as with WordPiece or without a decoder, a piece
//! brings the space before it, and a text drops its first one. Decoders that need more of a piece's neighbours are refused.

use serde_json::Value;
use tokenizers::Decoder as _;
use tokenizers::normalizers::replace::{Replace, ReplacePattern};

use crate::tokenizer::TokenizerError;
use crate::tokenizer::byte_level::ByteLevelDecoder;
use crate::tokenizer::vocabulary::Lead;

/// Converts vocabulary pieces to bytes.
#[derive(Debug)]
pub(super) struct PieceDecoder {
    steps: Vec<Step>,
    /// Whether pieces have been joined; later steps then see the text, not the pieces.
    fused: bool,
    lead: Lead,
}

#[derive(Debug)]
enum Step {
    Replace {
        from: String,
        to: String,
    },
    ReplaceRegex(Box<Replace>),
    /// Strips up to a number of occurrences of a character from the start and the end.
    Strip {
        content: char,
        start: usize,
        stop: usize,
    },
    /// `<0x0A>` is the byte 10.
    ByteFallback,
    ByteLevel(ByteLevelDecoder),
    /// A word, with the space before it.
    Word,
    /// A word, or with `prefix` the continuation of one.
    WordPiece {
        prefix: String,
        cleanup: bool,
    },
}

impl PieceDecoder {
    /// Reads the JSON object of the decoder.
    ///
    /// # Errors
    /// [`TokenizerError::Unsupported`] for decoders that depend on neighbouring pieces.
    pub(super) fn from_json(decoder: &Value) -> Result<Self, TokenizerError> {
        let mut parsed = Self { steps: Vec::new(), fused: false, lead: Lead::Keep };
        parsed.add(decoder)?;
        Ok(parsed)
    }

    /// Handling of a space at the start of a text.
    pub(super) fn lead(&self) -> Lead {
        self.lead
    }

    /// The bytes of a piece.
    pub(super) fn bytes(&self, piece: &str) -> Vec<u8> {
        let mut text = piece.to_owned();
        for step in &self.steps {
            match step {
                Step::Replace { from, to } => text = text.replace(from.as_str(), to),
                // It fails only if the expression backtracks too much, which no piece of a vocabulary is long enough for.
                Step::ReplaceRegex(replace) => {
                    text = replace.decode_chain(vec![text.clone()]).map_or(text, |parts| parts.concat());
                }
                Step::Strip { content, start, stop } => text = stripped(&text, *content, *start, *stop),
                Step::Word => text.insert(0, ' '),
                Step::WordPiece { prefix, cleanup } => text = word_piece(&text, prefix, *cleanup),
                Step::ByteFallback => {
                    if let Some(byte) = fallback_byte(&text) {
                        return vec![byte];
                    }
                }
                Step::ByteLevel(decoder) => {
                    let mut bytes = Vec::with_capacity(text.len());
                    decoder.append(&text, &mut bytes);
                    return bytes;
                }
            }
        }
        text.into_bytes()
    }

    /// The bytes of an added token. Its author wrote text, which may happen to be within the byte-level alphabet: `<ü>` would
    /// hold a byte that is not UTF-8.
    pub(super) fn added_bytes(&self, content: &str) -> Vec<u8> {
        let bytes = self.bytes(content);
        let is_byte_level = self.steps.iter().any(|step| matches!(step, Step::ByteLevel(_)));
        if is_byte_level && std::str::from_utf8(&bytes).is_err() {
            content.as_bytes().to_vec()
        } else {
            bytes
        }
    }

    fn add(&mut self, decoder: &Value) -> Result<(), TokenizerError> {
        match decoder["type"].as_str().unwrap_or("none") {
            "Sequence" => {
                for part in decoder["decoders"].as_array().ok_or_else(|| unsupported(decoder))? {
                    self.add(part)?;
                }
            }
            "Fuse" => self.fused = true,
            // Of what follows, only the start of the text is left to change, or single characters.
            "Strip" if self.fused => match strip(decoder)? {
                Step::Strip { content: ' ', start: 1, stop: 0 } => self.lead = Lead::DropOneSpace,
                _ => return Err(unsupported(decoder)),
            },
            _ => {
                let step = self.step(decoder)?;
                let may_follow = match &step {
                    Step::Replace { from, .. } => !self.fused || from.chars().count() == 1,
                    _ => !self.fused,
                };
                if !may_follow {
                    return Err(unsupported(decoder));
                }
                self.steps.push(step);
            }
        }
        Ok(())
    }

    fn step(&mut self, decoder: &Value) -> Result<Step, TokenizerError> {
        Ok(match decoder["type"].as_str() {
            Some("ByteLevel") => Step::ByteLevel(ByteLevelDecoder::new()),
            Some("ByteFallback") => Step::ByteFallback,
            Some("Strip") => strip(decoder)?,
            Some("Replace") => replace(decoder)?,
            Some("Metaspace") => {
                let from = decoder["replacement"].as_str().unwrap_or("▁").to_owned();
                let prepends = decoder["prepend_scheme"] != "never" && decoder["add_prefix_space"] != false;
                self.lead = if prepends { Lead::DropOneSpace } else { Lead::Keep };
                Step::Replace { from, to: " ".to_owned() }
            }
            Some("WordPiece") => {
                let prefix = decoder["prefix"].as_str().unwrap_or("##").to_owned();
                self.lead = Lead::DropOneSpace;
                Step::WordPiece { prefix, cleanup: decoder["cleanup"].as_bool().unwrap_or(true) }
            }
            None if decoder.is_null() => {
                self.lead = Lead::DropOneSpace;
                Step::Word
            }
            _ => return Err(unsupported(decoder)),
        })
    }
}

fn strip(decoder: &Value) -> Result<Step, TokenizerError> {
    let count = |key: &str| decoder[key].as_u64().and_then(|count| usize::try_from(count).ok());
    let content = decoder["content"].as_str().and_then(|text| text.chars().next());
    match (content, count("start"), count("stop")) {
        (Some(content), Some(start), Some(stop)) => Ok(Step::Strip { content, start, stop }),
        _ => Err(unsupported(decoder)),
    }
}

fn stripped(text: &str, content: char, start: usize, stop: usize) -> String {
    let run = |characters: &mut dyn Iterator<Item = char>, limit: usize| {
        characters.take(limit).take_while(|&character| character == content).count() * content.len_utf8()
    };
    let text = &text[run(&mut text.chars(), start)..];
    text[..text.len() - run(&mut text.chars().rev(), stop)].to_owned()
}

fn replace(decoder: &Value) -> Result<Step, TokenizerError> {
    let to = decoder["content"].as_str().ok_or_else(|| unsupported(decoder))?.to_owned();
    if let Some(from) = decoder["pattern"]["String"].as_str() {
        return Ok(Step::Replace { from: from.to_owned(), to });
    }
    let regex = decoder["pattern"]["Regex"].as_str().ok_or_else(|| unsupported(decoder))?;
    let replace = Replace::new(ReplacePattern::Regex(regex.to_owned()), to);
    replace.map(|replace| Step::ReplaceRegex(Box::new(replace))).map_err(|_| unsupported(decoder))
}

/// What WordPiece's decoder makes of a piece that does not begin a text.
fn word_piece(piece: &str, prefix: &str, cleanup: bool) -> String {
    // What tokenizers call cleanup: English punctuation and contractions follow their word.
    const CLEANUP: [(&str, &str); 11] = [
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" do not", " don't"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ];
    let mut text = match piece.strip_prefix(prefix).filter(|_| !prefix.is_empty()) {
        Some(rest) => rest.to_owned(),
        None => format!(" {piece}"),
    };
    if cleanup {
        for (from, to) in CLEANUP {
            text = text.replace(from, to);
        }
    }
    text
}

/// The byte of a piece such as `<0x0A>`.
pub(in crate::tokenizer) fn fallback_byte(piece: &str) -> Option<u8> {
    let digits = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() == 2 { u8::from_str_radix(digits, 16).ok() } else { None }
}

fn unsupported(decoder: &Value) -> TokenizerError {
    let mut found = decoder.to_string();
    if let Some((end, _)) = found.char_indices().nth(200) {
        found.truncate(end);
    }
    TokenizerError::Unsupported {
        part: "tokenizer decoder",
        found,
        supported: "none, ByteLevel, Metaspace, WordPiece, and sequences of Strip, Replace, ByteFallback and, after those, \
                    Fuse and Strip of one leading space"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sentencepiece_sequences_replace_and_fall_back_to_bytes() {
        let decoder = PieceDecoder::from_json(&json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}))
        .unwrap();
        assert_eq!(decoder.bytes("▁a▁"), b" a ");
        assert_eq!(decoder.bytes("<0xE2>"), [0xE2]);
        assert_eq!(decoder.bytes("<0xE2"), b"<0xE2");
        assert_eq!(decoder.lead(), Lead::DropOneSpace);
    }

    #[test]
    fn byte_level_pieces_are_their_bytes() {
        let decoder = PieceDecoder::from_json(&json!({"type": "ByteLevel"})).unwrap();
        assert_eq!(decoder.bytes("ĠéĊ"), [b' ', 0xE9, b'\n']);
        for (content, expected) in [("<ü>", "<ü>"), ("aĠb", "a b"), ("Ã©", "é"), ("ü日", "ü日")] {
            assert_eq!(decoder.added_bytes(content), expected.as_bytes(), "{content}");
        }
        assert_eq!(decoder.lead(), Lead::Keep);
    }

    #[test]
    fn decoders_that_look_at_neighbours_are_refused() {
        for decoder in [
            json!({"type": "CTC"}),
            json!({"type": "BPEDecoder", "suffix": "</w>"}),
            json!({"type": "Strip"}),
            json!(7),
        ] {
            let error = PieceDecoder::from_json(&decoder).unwrap_err();
            assert!(matches!(error, TokenizerError::Unsupported { .. }), "{decoder}: {error}");
        }
    }
}
