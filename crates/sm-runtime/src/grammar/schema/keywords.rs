//! Which keywords of JSON Schema are enforced. `docs/structured-output.md` has the table, and a test compares the two.

use serde_json::{Map, Value};

/// What becomes of a keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Support {
    /// The output satisfies it.
    Enforced,
    /// The output satisfies it, within limits.
    Within(&'static str),
    /// It says nothing about what is valid.
    Annotation,
    /// It is an error, with what to do instead.
    Refused(&'static str),
}

use Support::{Annotation, Enforced, Refused, Within};

/// The keywords of all drafts. Others are annotations, as the standard demands.
pub(super) const KEYWORDS: &[(&str, Support)] = &[
    ("type", Enforced),
    ("const", Within("numbers must have an exact double")),
    ("enum", Within("numbers must have an exact double")),
    ("anyOf", Enforced),
    (
        "oneOf",
        Within("alternatives must differ in their type, or in a constant that each requires; else use anyOf"),
    ),
    ("allOf", Enforced),
    ("$ref", Within("within the schema, as in #/$defs/name")),
    ("properties", Within("at most 1000 of an object; written in this order")),
    ("required", Enforced),
    ("additionalProperties", Enforced),
    ("patternProperties", Within("at most 50 patterns, of which no two match the same name")),
    ("minProperties", Within("where all properties are required")),
    ("maxProperties", Within("where all properties are required")),
    ("items", Enforced),
    ("prefixItems", Enforced),
    ("additionalItems", Enforced),
    ("minItems", Enforced),
    ("maxItems", Enforced),
    ("minLength", Enforced),
    ("maxLength", Enforced),
    (
        "pattern",
        Within(
            "without look-around, back references and word boundaries; at most 8 patterns and formats of one text",
        ),
    ),
    (
        "format",
        Within(
            "date-time, time, date, duration, email, hostname, ipv4, ipv6, uuid, uri; others are annotations",
        ),
    ),
    ("minimum", Within("up to ±9223372036854774784; beyond 2^53 it moves inwards to the next double")),
    ("maximum", Within("as minimum")),
    ("exclusiveMinimum", Within("as minimum")),
    ("exclusiveMaximum", Within("as minimum")),
    ("multipleOf", Within("at most 10000 without its decimal point")),
    ("$schema", Annotation),
    ("$id", Annotation),
    ("id", Annotation),
    ("$anchor", Annotation),
    ("$defs", Annotation),
    ("definitions", Annotation),
    ("$comment", Annotation),
    ("title", Annotation),
    ("description", Annotation),
    ("default", Annotation),
    ("examples", Annotation),
    ("readOnly", Annotation),
    ("writeOnly", Annotation),
    ("deprecated", Annotation),
    ("contentMediaType", Annotation),
    ("contentEncoding", Annotation),
    ("contentSchema", Annotation),
    ("uniqueItems", Refused("leave it out and check the answer; false is accepted")),
    ("not", Refused("list what is allowed, with enum or anyOf")),
    ("if", Refused("write the cases as anyOf, each with its own properties")),
    ("then", Refused("write the cases as anyOf, each with its own properties")),
    ("else", Refused("write the cases as anyOf, each with its own properties")),
    ("contains", Refused("put the item into prefixItems")),
    ("minContains", Refused("put the items into prefixItems")),
    ("maxContains", Refused("describe all items with items")),
    ("propertyNames", Refused("use patternProperties with additionalProperties: false")),
    ("dependentRequired", Refused("write the cases as anyOf, each with its own required")),
    ("dependentSchemas", Refused("write the cases as anyOf, each with its own properties")),
    ("dependencies", Refused("write the cases as anyOf, each with its own properties")),
    ("unevaluatedProperties", Refused("use additionalProperties")),
    ("unevaluatedItems", Refused("use items")),
    ("$dynamicRef", Refused("use $ref")),
    ("$recursiveRef", Refused("use $ref")),
];

/// Drops keywords that demand nothing, and refuses those that cannot be enforced.
///
/// # Errors
/// The keyword and what to do instead.
pub(super) fn check(map: &mut Map<String, Value>) -> Result<(), (&'static str, String)> {
    if map.get("uniqueItems") == Some(&Value::Bool(false)) {
        map.remove("uniqueItems");
    }
    let refused = KEYWORDS.iter().find_map(|(keyword, support)| match support {
        Refused(instead) if map.contains_key(*keyword) => Some((*keyword, *instead)),
        _ => None,
    });
    refused.map_or(Ok(()), |(keyword, instead)| Err((keyword, format!("cannot be enforced; {instead}"))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The rows of the documentation's table.
    fn table() -> Vec<String> {
        let row = |(keyword, support): &(&str, Support)| match support {
            Enforced => format!("| `{keyword}` | enforced | |"),
            Within(limit) => format!("| `{keyword}` | enforced | {limit} |"),
            Annotation => format!("| `{keyword}` | annotation | |"),
            Refused(instead) => format!("| `{keyword}` | refused | {instead} |"),
        };
        KEYWORDS.iter().map(row).collect()
    }

    #[test]
    fn the_documentation_has_this_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/structured-output.md");
        let documented = std::fs::read_to_string(path).unwrap();
        let (_, documented) = documented.split_once("## Keywords").unwrap();
        let rows: Vec<&str> = documented.lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(rows.join("\n"), table().join("\n"), "the table of keywords in {path}");
    }

    #[test]
    fn refused_keywords_come_with_what_to_do_instead() {
        let error = check(json!({"not": {}}).as_object_mut().unwrap()).unwrap_err();
        assert_eq!(error, ("not", "cannot be enforced; list what is allowed, with enum or anyOf".to_owned()));
        let mut schema = json!({"uniqueItems": false, "x-mine": 1});
        assert_eq!(check(schema.as_object_mut().unwrap()), Ok(()));
        assert_eq!(schema, json!({"x-mine": 1}));
        assert!(check(json!({"uniqueItems": true}).as_object_mut().unwrap()).is_err());
    }
}
