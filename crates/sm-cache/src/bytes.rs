//! Human-readable byte counts.

use std::fmt;
use std::str::FromStr;

/// A number of bytes. Prints in binary units with two decimals; below 1024 bytes, exactly.
///
/// ```
/// use sm_cache::ByteSize;
///
/// assert_eq!(ByteSize(512).to_string(), "512 B");
/// assert_eq!(ByteSize(2048).to_string(), "2.00 KB");
/// assert_eq!(ByteSize(393_216).to_string(), "384.00 KB");
/// assert_eq!(ByteSize(1 << 30).to_string(), "1.00 GB");
/// ```
///
/// Parses whole numbers, optionally followed by K, M, G or T:
///
/// ```
/// use sm_cache::ByteSize;
///
/// assert_eq!("512".parse(), Ok(ByteSize(512)));
/// assert_eq!("4G".parse(), Ok(ByteSize(4 << 30)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exponent = self.0.checked_ilog2().unwrap_or(0) / 10;
        let unit = ["B", "KB", "MB", "GB", "TB", "PB", "EB"][exponent as usize];
        if exponent == 0 {
            return write!(f, "{} {unit}", self.0);
        }
        let size = 1u128 << (10 * exponent);
        let hundredths = (u128::from(self.0) * 100 + size / 2) / size;
        write!(f, "{}.{:02} {unit}", hundredths / 100, hundredths % 100)
    }
}

/// Why a string is not a valid byte count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ByteSizeError {
    /// Not a whole number with an optional unit.
    #[error("expected a whole number, optionally followed by K, M, G or T for powers of 1024")]
    NotASize,
    /// Too large.
    #[error("the largest size is {} bytes", u64::MAX)]
    TooLarge,
}

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, ByteSizeError> {
        let units = [("K", 10), ("M", 20), ("G", 30), ("T", 40)];
        let unit = units.into_iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)));
        let (digits, shift) = unit.unwrap_or((text, 0));
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ByteSizeError::NotASize);
        }
        let n_bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
        n_bytes.map(Self).ok_or(ByteSizeError::TooLarge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_units_and_rejects_the_rest() {
        let cases = [("0", 0), ("7K", 7 << 10), ("1M", 1 << 20), ("16777215T", 16_777_215 << 40)];
        for (text, n_bytes) in cases {
            assert_eq!(text.parse(), Ok(ByteSize(n_bytes)), "{text}");
        }
        for text in ["", "K", "1KB", "-1", "+1", "1.5G", "1 G", "1g"] {
            assert_eq!(text.parse::<ByteSize>(), Err(ByteSizeError::NotASize), "{text}");
        }
        for text in ["16777216T", "99999999999999999999"] {
            assert_eq!(text.parse::<ByteSize>(), Err(ByteSizeError::TooLarge), "{text}");
        }
    }

    #[test]
    fn rounds_to_hundredths() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KB"),
            (1029, "1.00 KB"),
            (1030, "1.01 KB"),
            (1536 << 10, "1.50 MB"),
            (u64::MAX, "16.00 EB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }
}
