//! Prepares JSON schemas for the compiler: what it would enforce inexactly is made exact or refused.
//!
//! `llguidance` stores numbers as doubles, which skip integers beyond 2^53: a constant could become its neighbor, and a bound could
//! admit one. Constants without an exact double are refused; bounds move inwards to the next double. An unknown `format` is
//! dropped, as the JSON Schema standard demands. Patterns that match only a few names become properties.

use serde_json::{Map, Number, Value};

/// The formats that are enforced.
const FORMATS: [&str; 11] =
    ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri", "unknown"];

/// Keywords whose value is a schema, or an array of schemas.
const SCHEMAS: [&str; 14] = [
    "items",
    "additionalItems",
    "additionalProperties",
    "contains",
    "not",
    "if",
    "then",
    "else",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
    "allOf",
    "anyOf",
    "oneOf",
];

/// Keywords whose value is an object of schemas by name.
const NAMED_SCHEMAS: [&str; 6] =
    ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"];

/// From this magnitude on, doubles skip integers.
const MAX_EXACT: i128 = 1 << 53;
/// The largest double below 2^63, the end of the compiler's integers.
const MAX_BOUND: i128 = (1 << 63) - 1024;

/// Makes a schema exact.
///
/// # Errors
/// Why it cannot be.
pub(super) fn prepare(schema: &mut Value) -> Result<(), String> {
    let Some(map) = schema.as_object_mut() else { return Ok(()) };
    if map.get("format").and_then(Value::as_str).is_some_and(|format| !FORMATS.contains(&format)) {
        map.remove("format");
    }
    for keyword in ["const", "enum"] {
        map.get(keyword).map_or(Ok(()), |value| check_constants(keyword, value))?;
    }
    move_bounds(map)?;
    name_literal_patterns(map);
    for keyword in SCHEMAS.into_iter().chain(["prefixItems"]) {
        match map.get_mut(keyword) {
            Some(Value::Array(schemas)) => schemas.iter_mut().try_for_each(prepare)?,
            Some(schema) => prepare(schema)?,
            None => {}
        }
    }
    for keyword in NAMED_SCHEMAS {
        if let Some(Value::Object(schemas)) = map.get_mut(keyword) {
            schemas.values_mut().try_for_each(prepare)?;
        }
    }
    Ok(())
}

/// Moves the schemas of patterns that match a few names only to those names, which means the same.
///
/// The compiler would subtract the names from the pattern, and not notice that nothing is left: an object could go on with a
/// comma behind which no name is possible.
fn name_literal_patterns(map: &mut Map<String, Value>) {
    let Some(Value::Object(patterns)) = map.get_mut("patternProperties") else { return };
    let mut named: Vec<(String, Value)> = Vec::new();
    patterns.retain(|pattern, schema| match literal_names(pattern) {
        Some(names) => {
            named.extend(names.into_iter().map(|name| (name, schema.clone())));
            false
        }
        None => true,
    });
    if patterns.is_empty() {
        map.remove("patternProperties");
    }
    if named.is_empty() {
        return;
    }
    let properties = map.entry("properties").or_insert_with(|| Map::new().into());
    let Some(properties) = properties.as_object_mut() else { return };
    for (name, schema) in named {
        let merged = match properties.get_mut(&name).map(Value::take) {
            Some(own) => Value::from_iter([("allOf", Value::from(vec![own, schema]))]),
            None => schema,
        };
        properties.insert(name, merged);
    }
}

/// The names that an expression such as `^a$` or `^(a|b)$` matches; `None` for others.
fn literal_names(pattern: &str) -> Option<Vec<String>> {
    let inner = pattern.strip_prefix('^')?.strip_suffix('$')?;
    let group = inner.strip_prefix('(').and_then(|inner| inner.strip_suffix(')'));
    let names = match group {
        Some(group) => group.strip_prefix("?:").unwrap_or(group).split('|').collect(),
        None => vec![inner],
    };
    let is_literal = |name: &&str| name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | ' '));
    names.iter().all(is_literal).then(|| names.into_iter().map(str::to_owned).collect())
}

/// Refuses numbers in a constant that no double holds exactly.
fn check_constants(keyword: &str, value: &Value) -> Result<(), String> {
    match value {
        Value::Number(number) if !is_exact(number) => Err(format!(
            "{keyword}: {number} has no exact double, and numbers are enforced as doubles; give it as a string, or a number up to \
             {MAX_EXACT}"
        )),
        Value::Array(values) => values.iter().try_for_each(|value| check_constants(keyword, value)),
        Value::Object(values) => values.values().try_for_each(|value| check_constants(keyword, value)),
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
fn move_bounds(map: &mut Map<String, Value>) -> Result<(), String> {
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
        let moved = least_double(sign * bound + i128::from(strict));
        let Some(moved) = moved else {
            return Err(format!(
                "{keyword}: {value} is beyond ±{MAX_BOUND}, the largest bound that can be enforced"
            ));
        };
        *value = Value::from((sign * moved) as i64);
    }
    Ok(())
}

/// The number as an integer if it is so large that doubles skip integers.
fn integer_beyond(number: &Number) -> Option<i128> {
    let integer = number.as_i128().or_else(|| number.as_f64().map(|float| float as i128))?;
    (integer.abs() >= MAX_EXACT).then_some(integer)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn prepared(mut schema: Value) -> Result<Value, String> {
        prepare(&mut schema).map(|()| schema)
    }

    #[test]
    fn constants_that_are_no_doubles_are_refused_with_the_number() {
        for text in [
            "9007199254740993",
            "-9223372036854775808",
            "18446744073709551615",
            "123456789012345678901234567890",
        ] {
            for schema in [
                format!("{{\"const\":{text}}}"),
                format!("{{\"items\":[{{\"enum\":[1,{{\"a\":{text}}}]}}]}}"),
            ] {
                let message = prepared(serde_json::from_str(&schema).unwrap()).unwrap_err();
                assert!(message.contains("no exact double"), "{message}");
            }
        }
        for number in [json!(9007199254740992i64), json!(9007199254740994i64), json!(-3), json!(0.1)] {
            assert!(prepared(json!({"const": number})).is_ok(), "{number}");
        }
    }

    #[test]
    fn bounds_move_inwards() {
        let exact = 1i64 << 53;
        for (keyword, bound, expected) in [
            ("minimum", json!(exact + 1), json!(exact + 2)),
            ("maximum", json!(exact + 1), json!(exact)),
            ("exclusiveMinimum", json!(exact), json!(exact + 2)),
            ("exclusiveMaximum", json!(-exact), json!(-exact - 2)),
            ("minimum", json!(i64::MIN), json!(-9_223_372_036_854_774_784i64)),
            ("maximum", json!(u64::MAX), json!(9_223_372_036_854_774_784i64)),
            ("maximum", json!(1e300), json!(9_223_372_036_854_774_784i64)),
            ("minimum", json!(-7), json!(-7)),
        ] {
            assert_eq!(
                prepared(json!({ keyword: bound })).unwrap(),
                json!({ keyword: expected }),
                "{keyword} {bound}"
            );
        }
        assert!(prepared(json!({"minimum": 1e300})).unwrap_err().contains("beyond"));
        let strict = prepared(json!({"minimum": exact, "exclusiveMinimum": true})).unwrap();
        assert_eq!(strict["minimum"], json!(exact + 2));
    }

    #[test]
    fn patterns_of_a_few_names_become_properties() {
        let schema = json!({
            "properties": {"score": {"minimum": 0}},
            "patternProperties": {"^score$": {"type": "integer"}, "^(a|b_1)$": {"type": "null"}, "^x": {"type": "string"}},
        });
        let expected = json!({
            "properties": {
                "score": {"allOf": [{"minimum": 0}, {"type": "integer"}]},
                "a": {"type": "null"},
                "b_1": {"type": "null"},
            },
            "patternProperties": {"^x": {"type": "string"}},
        });
        assert_eq!(prepared(schema).unwrap(), expected);
        for pattern in ["score", "^a.$", "^a|b$", "^[ab]$", "^a", "b$"] {
            let schema = json!({"patternProperties": {pattern: {"type": "null"}}});
            assert_eq!(prepared(schema.clone()).unwrap(), schema, "{pattern}");
        }
    }

    #[test]
    fn only_formats_that_are_not_known_are_dropped_and_only_where_they_are_keywords() {
        let schema = json!({
            "properties": {"format": {"type": "string", "format": "binary"}, "at": {"format": "date"}},
            "$defs": {"x": {"anyOf": [{"format": "path"}]}},
            "enum": [{"format": "binary"}],
        });
        let expected = json!({
            "properties": {"format": {"type": "string"}, "at": {"format": "date"}},
            "$defs": {"x": {"anyOf": [{}]}},
            "enum": [{"format": "binary"}],
        });
        assert_eq!(prepared(schema).unwrap(), expected);
    }
}
