//! Refuses references that lead back to themselves before any value begins, such as `{"$ref": "#"}`: nothing could satisfy them.

use std::collections::HashMap;

use serde_json::Value;

use super::on;

/// Whether a reference's way has been followed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    Followed,
}

/// Refuses a schema with such a reference.
///
/// # Errors
/// With its place.
pub(super) fn check(root: &Value) -> Result<(), String> {
    let mut references = Vec::new();
    all_references(root, &mut references);
    let mut ways = HashMap::new();
    references.into_iter().try_for_each(|reference| follow(root, reference, &mut ways))
}

fn follow<'s>(root: &'s Value, reference: &'s str, ways: &mut HashMap<&'s str, Way>) -> Result<(), String> {
    match ways.get(reference) {
        Some(Way::Followed) => return Ok(()),
        Some(Way::Open) => {
            return Err(on(reference, "$ref", "it leads back to itself before any value begins"));
        }
        None => {}
    }
    ways.insert(reference, Way::Open);
    if let Some(target) = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer)) {
        let mut next = Vec::new();
        references_of_same_value(target, &mut next);
        next.into_iter().try_for_each(|reference| follow(root, reference, ways))?;
    }
    ways.insert(reference, Way::Followed);
    Ok(())
}

/// The references that a value must satisfy together with a schema. One of several alternatives may end the way.
fn references_of_same_value<'s>(schema: &'s Value, found: &mut Vec<&'s str>) {
    found.extend(schema.get("$ref").and_then(Value::as_str));
    let parts = schema.get("allOf").and_then(Value::as_array);
    parts.into_iter().flatten().for_each(|part| references_of_same_value(part, found));
}

fn all_references<'s>(value: &'s Value, found: &mut Vec<&'s str>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| all_references(value, found)),
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str));
            map.values().for_each(|value| all_references(value, found));
        }
        _ => {}
    }
}
