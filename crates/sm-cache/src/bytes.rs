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
/// Parses numbers, optionally followed by K, M, G or T, with or without `B` or `iB`, in powers of 1024:
///
/// ```
/// use sm_cache::ByteSize;
///
/// assert_eq!("512".parse(), Ok(ByteSize(512)));
/// assert_eq!("4G".parse(), Ok(ByteSize(4 << 30)));
/// assert_eq!("1.5GB".parse(), Ok(ByteSize(3 << 29)));
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
    /// Not a number with an optional unit.
    #[error(
        "must be a number of bytes, or one with a unit (K, M, G, T, in powers of 1024), as in 6G or 1.5GB"
    )]
    NotASize,
    /// Too large.
    #[error("the largest size is {} bytes", u64::MAX)]
    TooLarge,
}

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, ByteSizeError> {
        let text = text.to_ascii_uppercase();
        let number = text.strip_suffix("IB").or_else(|| text.strip_suffix('B')).unwrap_or(&text);
        let units = [("K", 10), ("M", 20), ("G", 30), ("T", 40)];
        let unit = units.into_iter().find_map(|(unit, shift)| Some((number.strip_suffix(unit)?, shift)));
        let (number, shift) = unit.unwrap_or((number, 0));
        let number = number.trim_end();
        let (whole, fraction) = number.split_once('.').map_or((number, None), |(w, f)| (w, Some(f)));
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let is_fraction =
            |digits: &str| is_number(digits) && shift > 0 && digits.len() <= MAX_FRACTION_DIGITS;
        let has_lone_i = text.ends_with("IB") && shift == 0;
        if !is_number(whole) || !fraction.is_none_or(is_fraction) || has_lone_i {
            return Err(ByteSizeError::NotASize);
        }
        let size = 1u128 << shift;
        let whole = whole.parse::<u64>().map_err(|_| ByteSizeError::TooLarge)?;
        let digits = fraction.unwrap_or_default();
        let parts = 10u128.pow(digits.len() as u32);
        // No digits are no part.
        let part = digits.parse::<u128>().unwrap_or(0);
        let n_bytes = u128::from(whole) * size + (part * size + parts / 2) / parts;
        u64::try_from(n_bytes).map(Self).map_err(|_| ByteSizeError::TooLarge)
    }
}

/// More digits would be finer than bytes.
const MAX_FRACTION_DIGITS: usize = 18;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_units_and_rejects_the_rest() {
        let cases = [
            ("0", 0),
            ("7K", 7 << 10),
            ("1M", 1 << 20),
            ("16777215T", 16_777_215 << 40),
            ("1KB", 1024),
            ("1kib", 1024),
            ("9B", 9),
            ("1.5G", 3 << 29),
            ("1.5 gb", 3 << 29),
            ("0.1K", 102),
        ];
        for (text, n_bytes) in cases {
            assert_eq!(text.parse(), Ok(ByteSize(n_bytes)), "{text}");
        }
        for text in ["", "K", "B", "1iB", "-1", "+1", "1.5", "1.G", ".5G", "1e3", "1.5.5G", "1X", "1GG"] {
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
