//! Sizes of grammars, which bound the time, stack and memory that compiling them takes.

use serde_json::Value;

/// Maximum number of rules and groups of a grammar in Lark or GBNF, and of levels of nested schemas with those that references
/// lead to. The compiler recurses on them: a level takes up to ten kilobytes of stack.
pub(super) const MAX_DEPTH: usize = 10_000;
/// Maximum number of properties of one object. The compiler's time grows with their square.
const MAX_PROPERTIES: usize = 1_000;
/// Maximum number of properties of all objects. The compiler numbers its symbols with 16 bits.
const MAX_ALL_PROPERTIES: usize = 8_000;
/// Maximum number of patterns of properties of one object. The compiler intersects each two of them.
const MAX_PATTERNS: usize = 50;

/// Refuses a schema that is nested too deeply or has too many properties.
///
/// # Errors
/// With the numbers.
pub(super) fn check_schema(schema: &Value) -> Result<(), String> {
    let mut size = SchemaSize::default();
    size.visit(schema)?;
    if size.n_properties > MAX_ALL_PROPERTIES {
        let n_properties = size.n_properties;
        return Err(format!(
            "it has {n_properties} properties, and at most {MAX_ALL_PROPERTIES} are possible"
        ));
    }
    // Each target of a reference is compiled once, so that no chain is longer than all of them together.
    let mut targets: Vec<&str> = size.references;
    targets.sort_unstable();
    targets.dedup();
    let depths = targets.iter().map(|target| height(target_of(schema, target).unwrap_or(schema)));
    let depth = height(schema) + depths.sum::<usize>();
    if depth > MAX_DEPTH {
        return Err(format!(
            "$ref: its {} targets may nest {depth} levels deep, and at most {MAX_DEPTH} are possible",
            targets.len()
        ));
    }
    Ok(())
}

#[derive(Default)]
struct SchemaSize<'s> {
    n_properties: usize,
    references: Vec<&'s str>,
}

impl<'s> SchemaSize<'s> {
    fn visit(&mut self, value: &'s Value) -> Result<(), String> {
        match value {
            Value::Array(values) => values.iter().try_for_each(|value| self.visit(value)),
            Value::Object(map) => {
                if let Some(reference) = map.get("$ref").and_then(Value::as_str) {
                    self.references.push(reference);
                }
                let limits = [
                    ("properties", MAX_PROPERTIES),
                    ("required", MAX_PROPERTIES),
                    ("patternProperties", MAX_PATTERNS),
                ];
                for (keyword, limit) in limits {
                    let n_names = match map.get(keyword) {
                        Some(Value::Object(properties)) => properties.len(),
                        Some(Value::Array(names)) => names.len(),
                        _ => 0,
                    };
                    if n_names > limit {
                        return Err(format!(
                            "{keyword}: {n_names} of one object, and at most {limit} are possible"
                        ));
                    }
                    self.n_properties += if keyword == "required" { 0 } else { n_names };
                }
                map.values().try_for_each(|value| self.visit(value))
            }
            _ => Ok(()),
        }
    }
}

/// The part of a schema that a reference such as `#/$defs/a` names.
fn target_of<'s>(schema: &'s Value, reference: &str) -> Option<&'s Value> {
    schema.pointer(reference.strip_prefix('#')?)
}

/// Levels of nested objects. The parser of JSON bounds them.
fn height(value: &Value) -> usize {
    match value {
        Value::Array(values) => values.iter().map(height).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(height).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    /// `n` definitions, each of which refers to the next one.
    fn chain(n: usize) -> Value {
        let mut definitions = Map::new();
        for i in 0..n {
            let next =
                json!({"type": "object", "properties": {"a": {"$ref": format!("#/$defs/d{}", i + 1)}}});
            definitions.insert(format!("d{i}"), next);
        }
        definitions.insert(format!("d{n}"), json!({"type": "integer"}));
        json!({"$defs": definitions, "$ref": "#/$defs/d0"})
    }

    #[test]
    fn chains_of_references_are_bounded() {
        assert_eq!(check_schema(&chain(3_000)), Ok(()));
        let error = check_schema(&chain(4_000)).unwrap_err();
        assert!(error.contains("4001 targets") && error.contains("10000"), "{error}");
    }

    #[test]
    fn properties_are_bounded() {
        let object = |n: usize| {
            let properties = (0..n).map(|i| (format!("p{i}"), json!({}))).collect::<Map<_, _>>();
            json!({"properties": properties})
        };
        assert_eq!(check_schema(&object(1_000)), Ok(()));
        let error = check_schema(&object(1_001)).unwrap_err();
        assert!(error.contains("1001") && error.contains("1000"), "{error}");
        let error = check_schema(&json!({"anyOf": vec![object(900); 9]})).unwrap_err();
        assert!(error.contains("8100"), "{error}");
    }
}
