//! Numbers of a schema, which the compiler stores as doubles: constants are exact or refused, bounds move inwards.

use serde_json::{Map, Number, Value};

/// From this magnitude on, doubles skip integers.
const MAX_EXACT: i128 = 1 << 53;
/// The largest double below 2^63, the end of the compiler's integers.
const MAX_BOUND: i128 = (1 << 63) - 1024;
/// Largest divisor, without its decimal point: the compiler makes an automaton with as many states.
const MAX_DIVISOR: u64 = 10_000;
/// Longest text or list that a schema can demand. More never fits into a context, so a longer limit does not matter.
const MAX_LEN: u64 = 1 << 31;

/// Refuses numbers in a constant that no double holds exactly.
pub(super) fn check_constants(value: &Value) -> Result<(), String> {
    match value {
        Value::Number(number) if !is_exact(number) => Err(format!(
            "{number} has no exact double, and numbers are enforced as doubles; give it as a string, or a number up to {MAX_EXACT}"
        )),
        Value::Array(values) => values.iter().try_for_each(check_constants),
        Value::Object(values) => values.values().try_for_each(check_constants),
        _ => Ok(()),
    }
}

fn is_exact(number: &Number) -> bool {
    match number.as_i64() {
        Some(integer) => integer > i64::MIN && (integer as f64) as i128 == i128::from(integer),
        None => number.as_f64().is_some_and(|float| float.abs() < MAX_EXACT as f64),
    }
}

/// Moves bounds that doubles cannot hold inwards.
///
/// # Errors
/// The keyword and why its bound cannot be enforced.
pub(super) fn move_bounds(map: &mut Map<String, Value>) -> Result<(), (&'static str, String)> {
    let is_strict = |map: &Map<String, Value>, keyword: &str| map.get(keyword) == Some(&Value::Bool(true));
    let strict_minimum = is_strict(map, "exclusiveMinimum");
    let strict_maximum = is_strict(map, "exclusiveMaximum");
    for (keyword, sign, strict) in [
        ("minimum", 1, strict_minimum),
        ("exclusiveMinimum", 1, true),
        ("maximum", -1, strict_maximum),
        ("exclusiveMaximum", -1, true),
    ] {
        let Some(value) = map.get_mut(keyword) else { continue };
        let Some(bound) = value.as_number().and_then(integer_beyond) else { continue };
        // A maximum is a minimum of the negated numbers.
        let moved = least_double(bound.saturating_mul(sign).saturating_add(i128::from(strict)));
        let Some(moved) = moved else {
            let message = format!("{value} is beyond ±{MAX_BOUND}, the largest bound that can be enforced");
            return Err((keyword, message));
        };
        *value = Value::from((sign * moved) as i64);
    }
    Ok(())
}

/// The number as an integer if it is so large that doubles skip integers.
fn integer_beyond(number: &Number) -> Option<i128> {
    let integer = number.as_i128().or_else(|| number.as_f64().map(|float| float as i128))?;
    (integer.unsigned_abs() >= MAX_EXACT.unsigned_abs()).then_some(integer)
}

/// The smallest double that is not below an integer and that the compiler's integers hold.
fn least_double(integer: i128) -> Option<i128> {
    if integer > MAX_BOUND {
        return None;
    }
    let nearest = integer.max(-MAX_BOUND) as f64;
    let double = if (nearest as i128) < integer { nearest.next_up() } else { nearest };
    Some(double as i128)
}

/// A multiple of 10^-`n_decimals`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Divisor {
    digits: u64,
    n_decimals: u32,
}

/// Reads `multipleOf`.
///
/// # Errors
/// If the compiler cannot divide by it.
pub(super) fn divisor(value: &Value) -> Result<Divisor, String> {
    let refused =
        || format!("{value} is no number above 0 of at most {MAX_DIVISOR} without its decimal point");
    let text = value.as_number().ok_or_else(refused)?.to_string();
    let (whole, decimals) = text.split_once('.').unwrap_or((&text, ""));
    let decimals = decimals.trim_end_matches('0');
    let digits: u64 = format!("{whole}{decimals}").parse().map_err(|_| refused())?;
    if digits == 0 || digits > MAX_DIVISOR {
        return Err(refused());
    }
    Ok(Divisor { digits, n_decimals: decimals.len() as u32 })
}

/// Refuses divisors whose least common multiple is beyond the compiler's numbers: where they meet, it divides by that.
///
/// # Errors
/// If it is.
pub(super) fn check_common_multiple(divisors: &[Divisor]) -> Result<(), String> {
    let n_decimals = divisors.iter().map(|divisor| divisor.n_decimals).max().unwrap_or(0);
    let scaled =
        |divisor: &Divisor| divisor.digits.checked_mul(10u64.checked_pow(n_decimals - divisor.n_decimals)?);
    let common = divisors.iter().try_fold(1u64, |common, divisor| {
        let divisor = scaled(divisor)?;
        (common / greatest_common(common, divisor)).checked_mul(divisor)
    });
    match common {
        Some(common) if common <= u64::from(u32::MAX) => Ok(()),
        _ => {
            Err("multipleOf: the least common multiple of all of the schema's is too large; use smaller ones"
                .to_owned())
        }
    }
}

fn greatest_common(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common(b, a % b) }
}

/// Drops limits of length that no output reaches, and writes whole numbers without a point.
///
/// # Errors
/// The keyword and why its length cannot be enforced.
pub(super) fn bound_lengths(map: &mut Map<String, Value>) -> Result<(), (&'static str, String)> {
    for (keyword, is_least) in [
        ("minLength", true),
        ("maxLength", false),
        ("minItems", true),
        ("maxItems", false),
        ("minProperties", true),
        ("maxProperties", false),
    ] {
        let Some(value) = map.get_mut(keyword) else { continue };
        let whole = value.as_f64().filter(|length| *length >= 0.0 && length.fract() == 0.0);
        let Some(length) = whole else {
            return Err((keyword, format!("must be a whole number of 0 or more, not {value}")));
        };
        if length < MAX_LEN as f64 {
            *value = Value::from(length as u64);
        } else if is_least {
            return Err((keyword, format!("no output is {value} long; at most {MAX_LEN} are possible")));
        } else {
            map.remove(keyword);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn constants_that_are_no_doubles_are_refused_with_the_number() {
        for text in [
            "9007199254740993",
            "-9223372036854775808",
            "18446744073709551615",
            "123456789012345678901234567890",
        ] {
            for constant in [text.to_owned(), format!("[1,{{\"a\":{text}}}]")] {
                let message = check_constants(&serde_json::from_str(&constant).unwrap()).unwrap_err();
                assert!(message.contains("no exact double"), "{message}");
            }
        }
        for number in [json!(9007199254740992i64), json!(9007199254740994i64), json!(-3), json!(0.1)] {
            assert_eq!(check_constants(&number), Ok(()));
        }
    }

    #[test]
    fn bounds_move_inwards() {
        let moved = |mut schema: Value| move_bounds(schema.as_object_mut().unwrap()).map(|()| schema);
        let exact = 1i64 << 53;
        for (keyword, bound, expected) in [
            ("minimum", json!(exact + 1), json!(exact + 2)),
            ("maximum", json!(exact + 1), json!(exact)),
            ("exclusiveMinimum", json!(exact), json!(exact + 2)),
            ("exclusiveMaximum", json!(-exact), json!(-exact - 2)),
            ("minimum", json!(i64::MIN), json!(-9_223_372_036_854_774_784i64)),
            ("maximum", json!(u64::MAX), json!(9_223_372_036_854_774_784i64)),
            ("maximum", json!(1e300), json!(9_223_372_036_854_774_784i64)),
            ("exclusiveMaximum", json!(1e300), json!(9_223_372_036_854_774_784i64)),
            ("exclusiveMinimum", json!(-1e300), json!(-9_223_372_036_854_774_784i64)),
            ("minimum", json!(-7), json!(-7)),
        ] {
            let schema = json!({ keyword: bound });
            assert_eq!(moved(schema).unwrap(), json!({ keyword: expected }), "{keyword} {bound}");
        }
        for (keyword, bound) in [
            ("minimum", 1e300),
            ("exclusiveMinimum", 1e300),
            ("maximum", -1e300),
            ("exclusiveMaximum", -1e300),
        ] {
            let (named, message) = moved(json!({keyword: bound})).unwrap_err();
            assert!(named == keyword && message.contains("beyond"), "{message}");
        }
        let strict = moved(json!({"minimum": exact, "exclusiveMinimum": true})).unwrap();
        assert_eq!(strict["minimum"], json!(exact + 2));
    }

    #[test]
    fn divisors_have_few_digits() {
        let read = |value: Value| divisor(&value).map(|it| (it.digits, it.n_decimals));
        assert_eq!(read(json!(5)), Ok((5, 0)));
        assert_eq!(read(json!(0.01)), Ok((1, 2)));
        assert_eq!(read(json!(2.50)), Ok((25, 1)));
        assert_eq!(read(json!(100.0)), Ok((100, 0)));
        for value in [json!(0), json!(-2), json!(10_001), json!(0.12345), json!(1e-300), json!("5")] {
            assert!(divisor(&value).unwrap_err().contains("10000"), "{value}");
        }
        let all = |values: &[u64]| {
            let divisors: Vec<_> = values.iter().map(|value| divisor(&json!(value)).unwrap()).collect();
            check_common_multiple(&divisors)
        };
        assert_eq!(all(&[10, 15, 7, 10_000]), Ok(()));
        assert!(all(&[9_973, 9_967, 9_949]).is_err());
    }

    #[test]
    fn lengths_are_whole_numbers_within_reach() {
        let bounded = |mut schema: Value| bound_lengths(schema.as_object_mut().unwrap()).map(|()| schema);
        assert_eq!(
            bounded(json!({"minLength": 2.0, "maxItems": 3})),
            Ok(json!({"minLength": 2, "maxItems": 3}))
        );
        assert_eq!(bounded(json!({"maxLength": u64::MAX, "type": "string"})), Ok(json!({"type": "string"})));
        for schema in
            [json!({"minLength": 5_000_000_000u64}), json!({"minItems": -1}), json!({"maxItems": 1.5})]
        {
            assert!(bounded(schema.clone()).is_err(), "{schema}");
        }
    }
}
