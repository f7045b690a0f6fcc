//! How long a model stays loaded.

use std::time::Duration;

use serde_json::Value;

/// How long a model stays loaded after the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    /// At least so long; zero unloads it as soon as nobody uses it.
    For(Duration),
    /// Until the server ends.
    Forever,
}

impl KeepAlive {
    /// Reads a number of seconds, or a text as Go writes durations (`5m`, `1h30m`, `-1s`). Negative ones are forever.
    ///
    /// # Errors
    /// What it must be, and what it is.
    pub fn read(value: &Value) -> Result<Self, String> {
        let seconds = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok().or_else(|| go_seconds(text.trim())),
            _ => None,
        };
        match seconds {
            Some(seconds) if seconds < 0.0 => Ok(Self::Forever),
            Some(seconds) if seconds.is_finite() => {
                Ok(Duration::try_from_secs_f64(seconds).map_or(Self::Forever, Self::For))
            }
            _ => Err(format!("must be seconds or a duration such as \"5m\" or \"1h30m\", not {value}")),
        }
    }
}

/// Units of Go's durations, in seconds.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("μs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
];

/// The seconds of a duration as <https://pkg.go.dev/time#ParseDuration> reads it.
fn go_seconds(text: &str) -> Option<f64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest.is_empty() {
        return None;
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let is_digit = |c: char| c.is_ascii_digit() || c == '.';
        let (number, after) = rest.split_at(rest.find(|c| !is_digit(c))?);
        let (unit, next) = after.split_at(after.find(is_digit).unwrap_or(after.len()));
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
        seconds += number.parse::<f64>().ok()? * scale;
        rest = next;
    }
    Some(sign * seconds)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn durations_are_seconds_or_as_go_writes_them() {
        let seconds = |seconds| Ok(KeepAlive::For(Duration::from_secs_f64(seconds)));
        for (value, expected) in [
            (json!(0), seconds(0.0)),
            (json!("0"), seconds(0.0)),
            (json!(3600), seconds(3600.0)),
            (json!(1.5), seconds(1.5)),
            (json!("5m"), seconds(300.0)),
            (json!("1h30m0.5s"), seconds(5400.5)),
            (json!("250ms"), seconds(0.25)),
            (json!(-1), Ok(KeepAlive::Forever)),
            (json!("-1m"), Ok(KeepAlive::Forever)),
            (json!(1e300), Ok(KeepAlive::Forever)),
        ] {
            assert_eq!(KeepAlive::read(&value), expected, "{value}");
        }
        for wrong in
            [json!("soon"), json!("5"), json!("5 parsecs"), json!("-"), json!("."), json!(true), json!({})]
        {
            let is_number = wrong == json!("5");
            assert_eq!(KeepAlive::read(&wrong).is_ok(), is_number, "{wrong}");
        }
    }
}
