//! Numbers of bytes for people.

use std::fmt;

/// Prints a number of bytes in binary units with two decimals; below 1024 bytes, exactly.
///
/// ```
/// use sm_cache::ByteSize;
///
/// assert_eq!(ByteSize(512).to_string(), "512 B");
/// assert_eq!(ByteSize(2048).to_string(), "2.00 KB");
/// assert_eq!(ByteSize(393_216).to_string(), "384.00 KB");
/// assert_eq!(ByteSize(1 << 30).to_string(), "1.00 GB");
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

#[cfg(test)]
mod tests {
    use super::*;

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
