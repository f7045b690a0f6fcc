//! The printable alphabet in which byte-level BPE writes bytes (one character for each of the 256).

/// The character that stands for each byte: itself where it is printable Latin-1, else U+0100 and up in order.
pub(super) fn alphabet() -> [char; 256] {
    let mut table = ['\0'; 256];
    let mut next = 0x100_u32;
    for byte in 0..=255_u8 {
        table[usize::from(byte)] = if matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF) {
            char::from(byte)
        } else {
            let letter = char::from_u32(next).unwrap_or('\0');
            next += 1;
            letter
        };
    }
    table
}

/// Reads pieces of the alphabet back into bytes.
#[derive(Clone, Debug)]
pub(super) struct ByteLevelDecoder {
    /// Byte of each character below `n`, or `None`.
    bytes: Vec<Option<u8>>,
}

impl ByteLevelDecoder {
    pub(super) fn new() -> Self {
        let mut bytes = vec![None; 0x200];
        for (byte, letter) in (0..=255_u8).zip(alphabet()) {
            bytes[letter as usize] = Some(byte);
        }
        Self { bytes }
    }

    /// Appends the bytes of `piece`; a piece with a character outside of the alphabet stands for itself.
    pub(super) fn append(&self, piece: &str, out: &mut Vec<u8>) {
        let start = out.len();
        for letter in piece.chars() {
            match self.bytes.get(letter as usize).copied().flatten() {
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
    fn every_byte_has_its_own_letter_and_reads_back() {
        let decoder = ByteLevelDecoder::new();
        let mut out = Vec::new();
        for letter in alphabet() {
            decoder.append(&letter.to_string(), &mut out);
        }
        assert_eq!(out, (0..=255).collect::<Vec<u8>>());
        assert_eq!((alphabet()[b' ' as usize], alphabet()[b'\n' as usize]), ('Ġ', 'Ċ'));
    }

    #[test]
    fn text_outside_of_the_alphabet_stands_for_itself() {
        let mut out = Vec::new();
        ByteLevelDecoder::new().append("<a b>", &mut out);
        ByteLevelDecoder::new().append("Ġ日", &mut out);
        assert_eq!(out, "<a b>Ġ日".as_bytes());
    }
}
