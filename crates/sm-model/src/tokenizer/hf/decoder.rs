//! The `decoder` of `tokenizer.json`: the bytes of each vocabulary piece.
//!
//! The library decodes whole sequences of pieces. Here each piece is converted to bytes once, at load, so that text is the
//! concatenation of its tokens' bytes, as streaming requires. That holds for byte-level and SentencePiece-style
//! vocabularies; decoders that depend on neighbouring pieces (WordPiece) are rejected.

use serde_json::Value;

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
    /// `<0x0A>` is the byte 10.
    ByteFallback,
    ByteLevel(ByteLevelDecoder),
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

    fn add(&mut self, decoder: &Value) -> Result<(), TokenizerError> {
        let kind = decoder["type"].as_str().unwrap_or("none");
        match kind {
            "Sequence" => {
                for part in decoder["decoders"].as_array().ok_or_else(|| unsupported(decoder))? {
                    self.add(part)?;
                }
            }
            "ByteLevel" if !self.fused => self.steps.push(Step::ByteLevel(ByteLevelDecoder::new())),
            "ByteFallback" if !self.fused => self.steps.push(Step::ByteFallback),
            "Fuse" => self.fused = true,
            "Replace" if !self.fused => {
                let Some(from) = decoder["pattern"]["String"].as_str() else {
                    return Err(unsupported(decoder));
                };
                let Some(to) = decoder["content"].as_str() else { return Err(unsupported(decoder)) };
                self.steps.push(Step::Replace { from: from.to_owned(), to: to.to_owned() });
            }
            "Strip" if self.fused => match (&decoder["content"], &decoder["start"], &decoder["stop"]) {
                (Value::String(content), start, stop) if content == " " && *start == 1 && *stop == 0 => {
                    self.lead = Lead::DropOneSpace;
                }
                _ => return Err(unsupported(decoder)),
            },
            "Metaspace" => {
                let from = decoder["replacement"].as_str().unwrap_or("▁").to_owned();
                self.steps.push(Step::Replace { from, to: " ".to_owned() });
                let prepends = decoder["prepend_scheme"] != "never" && decoder["add_prefix_space"] != false;
                self.lead = if prepends { Lead::DropOneSpace } else { Lead::Keep };
            }
            _ => return Err(unsupported(decoder)),
        }
        Ok(())
    }
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
        supported: "ByteLevel, Metaspace, and sequences of Replace, ByteFallback, Fuse and Strip of one leading space"
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
        assert_eq!(decoder.lead(), Lead::Keep);
    }

    #[test]
    fn decoders_that_look_at_neighbours_are_refused() {
        for decoder in
            [json!({"type": "WordPiece", "prefix": "##"}), json!(null), json!({"type": "Strip"}), json!(7)]
        {
            let error = PieceDecoder::from_json(&decoder).unwrap_err();
            assert!(matches!(error, TokenizerError::Unsupported { .. }), "{decoder}: {error}");
        }
    }
}
