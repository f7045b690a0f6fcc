//! Patterns of the names of properties.

use serde_json::{Map, Value};

/// Moves the schemas of patterns that match a few names only to those names, which means the same.
///
/// The compiler would subtract the names from the pattern, and not notice that nothing is left: an object could go on with a
/// comma behind which no name is possible.
pub(super) fn name_literal_patterns(map: &mut Map<String, Value>) {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn named(mut schema: Value) -> Value {
        name_literal_patterns(schema.as_object_mut().unwrap());
        schema
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
        assert_eq!(named(schema), expected);
        for pattern in ["score", "^a.$", "^a|b$", "^[ab]$", "^a", "b$"] {
            let schema = json!({"patternProperties": {pattern: {"type": "null"}}});
            assert_eq!(named(schema.clone()), schema, "{pattern}");
        }
    }
}
