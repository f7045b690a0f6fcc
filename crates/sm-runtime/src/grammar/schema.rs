//! Prepares JSON schemas for the compiler: what it would enforce inexactly is made exact or refused.
//!
//! `llguidance` stores numbers as doubles, which skip integers beyond 2^53: a constant could become its neighbor, and a bound could
//! admit one. Constants without an exact double are refused; bounds move inwards to the next double. An unknown `format` is
//! dropped, as the JSON Schema standard demands. Patterns that match only a few names become properties. Errors name the
//! keyword and the place, as a JSON pointer.

mod cycles;
mod keywords;
mod locate;
mod meeting;
mod numbers;
mod patterns;

use std::fmt::Write;

use serde_json::Value;

pub(super) use locate::explain;
use numbers::Divisor;

/// The formats that are enforced.
const FORMATS: [&str; 11] =
    ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri", "unknown"];

/// Keywords whose value is a schema, or an array of schemas.
const SCHEMAS: [&str; 7] =
    ["items", "prefixItems", "additionalItems", "additionalProperties", "allOf", "anyOf", "oneOf"];

/// Keywords whose value is an object of schemas by name.
const NAMED_SCHEMAS: [&str; 4] = ["properties", "patternProperties", "$defs", "definitions"];

/// Makes a schema exact.
///
/// # Errors
/// Why it cannot be, with the keyword and its place.
pub(super) fn prepare(schema: &mut Value) -> Result<(), String> {
    if *schema == Value::Bool(true) {
        *schema = Value::Object(serde_json::Map::new());
    }
    if !schema.is_object() && !schema.is_boolean() {
        return Err("the schema must be an object, true or false".to_owned());
    }
    let mut preparation = Preparation { pointer: "#".to_owned(), divisors: Vec::new() };
    preparation.visit(schema)?;
    numbers::check_common_multiple(&preparation.divisors)?;
    cycles::check(schema)?;
    meeting::check(schema)
}

/// A walk through a schema.
struct Preparation {
    /// The place of the schema that is visited, as a JSON pointer.
    pointer: String,
    divisors: Vec<Divisor>,
}

impl Preparation {
    fn visit(&mut self, schema: &mut Value) -> Result<(), String> {
        let Some(map) = schema.as_object_mut() else { return Ok(()) };
        let at = |(keyword, message): (&str, String)| on(&self.pointer, keyword, &message);
        keywords::check(map).map_err(at)?;
        if map.get("format").and_then(Value::as_str).is_some_and(|format| !FORMATS.contains(&format)) {
            map.remove("format");
        }
        for keyword in ["const", "enum"] {
            let checked = map.get(keyword).map_or(Ok(()), numbers::check_constants);
            checked.map_err(|message| at((keyword, message)))?;
        }
        numbers::move_bounds(map).map_err(at)?;
        numbers::bound_lengths(map).map_err(at)?;
        if let Some(divisor) = map.get("multipleOf") {
            let divisor = numbers::divisor(divisor).map_err(|message| at(("multipleOf", message)))?;
            self.divisors.push(divisor);
        }
        for keyword in SCHEMAS {
            match map.get_mut(keyword) {
                Some(Value::Array(schemas)) => {
                    for (index, schema) in schemas.iter_mut().enumerate() {
                        self.visit_part(&[keyword, &index.to_string()], schema)?;
                    }
                }
                Some(schema) => self.visit_part(&[keyword], schema)?,
                None => {}
            }
        }
        for keyword in NAMED_SCHEMAS {
            if let Some(Value::Object(schemas)) = map.get_mut(keyword) {
                for (name, schema) in schemas {
                    self.visit_part(&[keyword, name], schema)?;
                }
            }
        }
        patterns::name_literal_patterns(map);
        Ok(())
    }

    fn visit_part(&mut self, steps: &[&str], schema: &mut Value) -> Result<(), String> {
        let n_bytes = self.pointer.len();
        push(&mut self.pointer, steps);
        self.visit(schema)?;
        self.pointer.truncate(n_bytes);
        Ok(())
    }
}

/// Appends steps to a JSON pointer.
fn push(pointer: &mut String, steps: &[&str]) {
    for step in steps {
        let escaped = step.replace('~', "~0").replace('/', "~1");
        write!(pointer, "/{escaped}").expect("writing to a string cannot fail");
    }
}

/// A message about a keyword of the schema at `pointer`.
fn on(pointer: &str, keyword: &str, message: &str) -> String {
    let mut place = pointer.to_owned();
    push(&mut place, &[keyword]);
    format!("{place}: {message}")
}

#[cfg(test)]
mod tests;
