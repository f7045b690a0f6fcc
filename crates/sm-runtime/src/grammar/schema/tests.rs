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
fn patterns_that_meet_are_counted() {
    let patterns = |n: usize| vec![json!({"pattern": "a"}); n];
    assert!(prepared(json!({"allOf": patterns(8)})).is_ok());
    assert!(prepared(json!({"anyOf": patterns(30)})).is_ok());
    let many = json!({"properties": {"p": {"allOf": patterns(5), "$ref": "#/$defs/q"}}, "$defs": {"q": {"allOf": patterns(4)}}});
    let error = prepared(many).unwrap_err();
    assert!(error.starts_with("#/properties/p/pattern: 9 patterns"), "{error}");
}
