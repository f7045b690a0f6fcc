//! Schemas are made exact, or refused with the keyword and its place.

use serde_json::json;

use super::*;

fn prepared(mut schema: Value) -> Result<Value, String> {
    prepare(&mut schema).map(|()| schema)
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

#[test]
fn errors_name_the_keyword_and_its_place() {
    for (schema, message) in [
        (json!({"properties": {"a/b": {"not": {}}}}), "#/properties/a~1b/not: cannot be enforced"),
        (json!({"items": {"const": u64::MAX}}), "#/items/const: 18446744073709551615 has no exact double"),
        (json!({"anyOf": [{}, {"minimum": 1e300}]}), "#/anyOf/1/minimum: 1e+300 is beyond"),
        (json!({"$defs": {"x": {"minLength": -1}}}), "#/$defs/x/minLength: must be a whole number"),
        (json!({"multipleOf": 0}), "#/multipleOf: 0 is no number above 0"),
        (json!({"prefixItems": [{"uniqueItems": true}]}), "#/prefixItems/0/uniqueItems: "),
        (json!([1]), "the schema must be an object, true or false"),
    ] {
        let error = prepared(schema.clone()).unwrap_err();
        assert!(error.starts_with(message) && !error.contains('\n'), "{schema}: {error}");
    }
    assert_eq!(prepared(json!(true)), Ok(json!({})));
}

#[test]
fn references_that_lead_back_to_themselves_are_refused() {
    for (schema, place) in [
        (json!({"$ref": "#"}), "#/$ref: "),
        (json!({"$defs": {"a": {"allOf": [{"$ref": "#/$defs/b"}]}, "b": {"$ref": "#/$defs/a"}}}), "#/$defs/"),
    ] {
        let error = prepared(schema.clone()).unwrap_err();
        assert!(error.starts_with(place) && error.contains("leads back to itself"), "{schema}: {error}");
    }
    for schema in [
        json!({"properties": {"a": {"$ref": "#"}}}),
        json!({"anyOf": [{"type": "null"}, {"$ref": "#"}]}),
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}),
    ] {
        assert_eq!(prepared(schema.clone()), Ok(schema));
    }
}

#[test]
fn patterns_that_meet_are_counted() {
    let patterns = |n: usize| vec![json!({"pattern": "a"}); n];
    assert!(prepared(json!({"allOf": patterns(8)})).is_ok());
    assert!(prepared(json!({"anyOf": patterns(30)})).is_ok());
    let many = json!({"properties": {"p": {"allOf": patterns(5), "$ref": "#/$defs/q"}}, "$defs": {"q": {"allOf": patterns(4)}}});
    let error = prepared(many).unwrap_err();
    assert!(error.starts_with("#/properties/p/pattern: 9 patterns"), "{error}");
    // Each definition refers to ten others: all ways through them are too many to look at.
    let entangled = (0..40).map(|i| {
        let references = (0..10).map(|j| json!({"$ref": format!("#/$defs/d{}", (i * 7 + j) % 40)}));
        (format!("d{i}"), json!({"anyOf": references.collect::<Vec<_>>()}))
    });
    let entangled = entangled.collect::<serde_json::Map<_, _>>();
    assert!(prepared(json!({"$defs": entangled, "$ref": "#/$defs/d0"})).is_ok());
}
