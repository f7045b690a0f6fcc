//! The document against the router, and against itself.

use std::collections::BTreeSet;

use serde_json::Value;

use super::document;

/// Paths that other files add, and those that are described elsewhere.
const ELSEWHERE: [&str; 3] = ["/api/", "/admin", "/v1/messages"];

#[test]
fn every_path_of_the_router_is_described_and_no_other() {
    let router = include_str!("../router.rs");
    let routes = router.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next());
    let routes: BTreeSet<String> = routes.map(|path| path.replace("{*", "{")).collect();
    let routes: BTreeSet<&str> = routes.iter().map(String::as_str).collect();
    let document = document();
    let described: BTreeSet<&str> =
        document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let missing: Vec<_> = routes.difference(&described).collect();
    let missing: Vec<_> =
        missing.into_iter().filter(|path| !ELSEWHERE.iter().any(|prefix| path.starts_with(prefix))).collect();
    assert!(missing.is_empty(), "add to openapi/operations.rs: {missing:?}");
    let gone: Vec<_> = described.difference(&routes).collect();
    assert!(gone.is_empty(), "no longer routed: {gone:?}");
}

#[test]
fn every_schema_that_is_named_exists_and_ids_are_unique() {
    let document = document();
    let text = document.to_string();
    for name in text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
    let ids: Vec<&Value> = operations.map(|operation| &operation["operationId"]).collect();
    let unique: BTreeSet<&str> = ids.iter().map(|id| id.as_str().unwrap()).collect();
    assert_eq!(ids.len(), unique.len());
}
