//! The alphabet of byte-level BPE: a printable character for each of the 256 bytes.
//!
//! GPT-2 runs BPE on bytes but stores pieces as text, so it maps bytes to characters (`bytes_to_unicode` in `encoder.py` of
//! <https://github.com/openai/gpt-2>). A space is `Ġ`, a line feed `Ċ`.

/// The character of each byte: the byte itself if printable in Latin-1, otherwise the next from U+0100 on.
pub(super) fn alphabet() -> [char; 256] {
    let mut table = ['\0'; 256];
    let mut next = 0x100_u32;
    for byte in 0..=255_u8 {
        table[usize::from(byte)] = if matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF) {
            char::from(byte)
        } else {
            let character = char::from_u32(next).unwrap_or('\0');
            next += 1;
            character
        };
    }
    table
}

/// Decodes pieces in this alphabet to bytes.
#[derive(Clone, Debug)]
pub(super) struct ByteLevelDecoder {
    /// The byte of each character below U+0200 that is in the alphabet.
    bytes: Vec<Option<u8>>,
}

impl ByteLevelDecoder {
    pub(super) fn new() -> Self {
        let mut bytes = vec![None; 0x200];
        for (byte, character) in (0..=255_u8).zip(alphabet()) {
            bytes[character as usize] = Some(byte);
        }
        Self { bytes }
    }

    /// The bytes of a piece within the alphabet.
    pub(super) fn bytes(&self, piece: &str) -> Option<Vec<u8>> {
        piece.chars().map(|character| self.bytes.get(character as usize).copied().flatten()).collect()
    }

    /// Appends the bytes of `piece`. A piece with characters outside the alphabet is treated as text.
    pub(super) fn append(&self, piece: &str, out: &mut Vec<u8>) {
        let start = out.len();
        for character in piece.chars() {
            match self.bytes.get(character as usize).copied().flatten() {
                Some(byte) => out.push(byte),
                None => {
                    out.truncate(start);
                    out.extend_from_slice(piece.as_bytes());
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_character_that_reads_back() {
        let decoder = ByteLevelDecoder::new();
        let mut out = Vec::new();
        for character in alphabet() {
            decoder.append(&character.to_string(), &mut out);
        }
        assert_eq!(out, (0..=255).collect::<Vec<u8>>());
        assert_eq!((alphabet()[b' ' as usize], alphabet()[b'\n' as usize]), ('Ġ', 'Ċ'));
    }

    #[test]
    fn pieces_outside_the_alphabet_are_taken_as_text() {
        let mut out = Vec::new();
        ByteLevelDecoder::new().append("<a b>", &mut out);
        ByteLevelDecoder::new().append("Ġ日", &mut out);
        assert_eq!(out, "<a b>Ġ日".as_bytes());
    }
}
