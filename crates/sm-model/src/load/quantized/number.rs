//! What a code stands for before it is scaled, and products rounded once.

use half::f16;

/// How a code stands for a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// An integer from zero.
    Unsigned,
    /// An integer in two's complement, in a byte.
    Signed,
    /// FP8 with 4 bits of exponent and 3 of mantissa: no infinities, and all ones is NaN
    /// (Micikevicius et al. 2022, arXiv 2209.05433).
    E4m3,
    /// FP8 with 5 bits of exponent and 2 of mantissa: the upper half of an f16.
    E5m2,
}

impl Number {
    pub(super) fn is_float(self) -> bool {
        matches!(self, Self::E4m3 | Self::E5m2)
    }

    /// The integers that codes of `bits` stand for reach this magnitude.
    pub(super) fn largest_integer(self, bits: usize) -> i32 {
        match self {
            Self::Unsigned => (1 << bits) - 1,
            _ => 128,
        }
    }

    /// The value of each code, exact.
    pub(super) fn table(self) -> [f32; 256] {
        std::array::from_fn(|code| self.value(code as u8))
    }

    fn value(self, code: u8) -> f32 {
        match self {
            Self::Unsigned => f32::from(code),
            Self::Signed => f32::from(code.cast_signed()),
            Self::E4m3 => e4m3(code),
            Self::E5m2 => f16::from_le_bytes([0, code]).to_f32(),
        }
    }
}

fn e4m3(code: u8) -> f32 {
    const BIAS: i32 = 7;
    let exponent = i32::from(code >> 3 & 15);
    let mantissa = f32::from(code & 7);
    let magnitude = match (exponent, code & 7) {
        (15, 7) => f32::NAN,
        (0, _) => mantissa * 2.0f32.powi(1 - BIAS - 3),
        _ => (8.0 + mantissa) * 2.0f32.powi(exponent - BIAS - 3),
    };
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}

/// Rounds to the neighbour with an odd last bit if `value` is not exact. Rounding the result to a type with at least two bits less
/// then equals rounding `value` (Boldo and Melquiond 2008, "Emulation of FMA and correctly rounded sums").
pub(super) fn round_to_odd(value: f64) -> f32 {
    let nearest = value as f32;
    if f64::from(nearest) == value || !nearest.is_finite() {
        return nearest;
    }
    let is_too_large = f64::from(nearest).abs() > value.abs();
    f32::from_bits((nearest.to_bits() - u32::from(is_too_large)) | 1)
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    #[test]
    fn fp8_values_are_those_of_the_paper() {
        // Table 1 of arXiv 2209.05433: largest, smallest normal and smallest subnormal values.
        let largest = [(Number::E4m3, 0x7E, 448.0), (Number::E5m2, 0x7B, 57344.0)];
        let smallest_normal = [(Number::E4m3, 0x08, 2.0f32.powi(-6)), (Number::E5m2, 0x04, 2.0f32.powi(-14))];
        let smallest = [(Number::E4m3, 0x01, 2.0f32.powi(-9)), (Number::E5m2, 0x01, 2.0f32.powi(-16))];
        for (number, code, value) in largest.into_iter().chain(smallest_normal).chain(smallest) {
            let table = number.table();
            assert_eq!((table[code], table[code | 0x80]), (value, -value), "{number:?} {code:#x}");
        }
        assert!(Number::E4m3.table()[0x7F].is_nan() && Number::E4m3.table()[0xFF].is_nan());
        assert!(Number::E5m2.table()[0x7C].is_infinite() && Number::E5m2.table()[0x7D].is_nan());
    }

    /// A double with 29 significant bits just above a tie of BF16: rounded to f32 first, it would be taken for the tie.
    #[test]
    fn rounding_in_two_steps_equals_rounding_once() {
        let tie = 1.0 + 2.0f64.powi(-8);
        for (above, expected) in
            [(0.0, 1.0), (2.0f64.powi(-28), 1.0 + 2.0f32.powi(-7)), (-(2.0f64.powi(-28)), 1.0)]
        {
            let rounded = bf16::from_f32(round_to_odd(tie + above)).to_f32();
            assert_eq!(rounded, expected, "{above}");
            assert_eq!(bf16::from_f32(round_to_odd(-tie - above)).to_f32(), -expected, "-{above}");
        }
        assert_eq!(round_to_odd(0.5), 0.5);
        assert_eq!(round_to_odd(1e300), f32::INFINITY);
        assert!(round_to_odd(f64::NAN).is_nan());
    }
}
