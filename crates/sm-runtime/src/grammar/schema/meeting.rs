//! Counts the patterns that meet in one text, with which the compiler's time grows exponentially.

use serde_json::{Map, Value};

use super::{NAMED_SCHEMAS, SCHEMAS, on, push};

/// Maximum number of patterns and formats that one text must match.
const MAX_PATTERNS: usize = 8;
/// Maximum number of schemas to look at, each as often as references lead to it; the time of compiling bounds what is left.
const MAX_STEPS: usize = 100_000;

/// Refuses a schema in which too many patterns meet.
///
/// # Errors
/// With their number and the place.
pub(super) fn check(schema: &Value) -> Result<(), String> {
    Meeting { root: schema, n_steps: 0 }.count(schema, "#", 0).map(|_| ())
}

struct Meeting<'s> {
    root: &'s Value,
    n_steps: usize,
}

impl Meeting<'_> {
    /// Counts the patterns and formats that a text must match at once. `depth` counts references.
    fn count(&mut self, schema: &Value, pointer: &str, depth: usize) -> Result<usize, String> {
        self.n_steps += 1;
        let Some(map) = schema.as_object().filter(|_| self.n_steps <= MAX_STEPS) else { return Ok(0) };
        let mut n_patterns =
            ["pattern", "format"].iter().filter(|keyword| map.contains_key(**keyword)).count();
        let target = map.get("$ref").and_then(Value::as_str).and_then(|reference| {
            let target = self.root.pointer(reference.strip_prefix('#')?)?;
            Some((reference, target))
        });
        // References are compiled one by one; what meets does so within few of them.
        if let Some((reference, target)) = target.filter(|_| depth < MAX_PATTERNS) {
            n_patterns += self.count(target, reference, depth + 1)?;
        }
        for keyword in SCHEMAS {
            let counts = self.count_parts(map, keyword, pointer, depth)?;
            n_patterns += match keyword {
                "allOf" => counts.iter().sum(),
                "anyOf" | "oneOf" => counts.into_iter().max().unwrap_or(0),
                _ => 0,
            };
        }
        for keyword in NAMED_SCHEMAS.into_iter().filter(|_| depth == 0) {
            for (name, schema) in map.get(keyword).and_then(Value::as_object).into_iter().flatten() {
                self.count(schema, &place(pointer, &[keyword, name]), depth)?;
            }
        }
        if n_patterns > MAX_PATTERNS {
            let message =
                format!("{n_patterns} patterns and formats meet here; at most {MAX_PATTERNS} are possible");
            return Err(on(pointer, "pattern", &message));
        }
        Ok(n_patterns)
    }

    /// The counts of the schemas of a keyword.
    fn count_parts(
        &mut self,
        map: &Map<String, Value>,
        keyword: &str,
        pointer: &str,
        depth: usize,
    ) -> Result<Vec<usize>, String> {
        match map.get(keyword) {
            Some(Value::Array(schemas)) => {
                let schemas = schemas.iter().enumerate();
                let count = |(index, schema): (usize, &Value)| {
                    self.count(schema, &place(pointer, &[keyword, &index.to_string()]), depth)
                };
                schemas.map(count).collect()
            }
            Some(schema) => Ok(vec![self.count(schema, &place(pointer, &[keyword]), depth)?]),
            None => Ok(Vec::new()),
        }
    }
}

fn place(pointer: &str, steps: &[&str]) -> String {
    let mut place = pointer.to_owned();
    push(&mut place, steps);
    place
}
