//! The document against the router, and against itself.

use std::collections::BTreeSet;

use serde_json::Value;

use super::document;
use super::schemas::Bounds;

/// The files that have routes.
const ROUTERS: [&str; 6] = [
    include_str!("../router.rs"),
    include_str!("../admin.rs"),
    include_str!("../anthropic.rs"),
    include_str!("../ollama.rs"),
    include_str!("../page.rs"),
    include_str!("../responses.rs"),
];

#[test]
fn every_path_of_the_router_is_described_and_no_other() {
    let routes = ROUTERS.iter().flat_map(|source| source.split(".route(\"").skip(1));
    let routes = routes.filter_map(|rest| rest.split('"').next());
    let routes: BTreeSet<String> = routes.map(|path| path.replace("{*", "{")).collect();
    let routes: BTreeSet<&str> = routes.iter().map(String::as_str).collect();
    let document = document(Bounds::default());
    let described: BTreeSet<&str> =
        document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let missing: Vec<_> = routes.difference(&described).collect();
    assert!(missing.is_empty(), "add to openapi/operations.rs: {missing:?}");
    let gone: Vec<_> = described.difference(&routes).collect();
    assert!(gone.is_empty(), "no longer routed: {gone:?}");
}

#[test]
fn every_schema_that_is_named_exists_and_ids_are_unique() {
    let document = document(Bounds::default());
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
