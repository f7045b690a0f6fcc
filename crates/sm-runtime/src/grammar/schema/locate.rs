//! Finds the part of a schema that the compiler refuses, and says why in words about it.

use std::time::Instant;

use serde_json::{Map, Value};

use super::{NAMED_SCHEMAS, SCHEMAS, on, push};

/// Maximum number of parts to compile in search of the culprit.
const MAX_TRIALS: usize = 200;

/// The compiler's messages by their beginnings: the keyword, and what to say. `None` is the rest of the message.
const MESSAGES: [(&str, &str, Option<&str>); 12] = [
    (
        "oneOf constraints are not supported",
        "oneOf",
        Some("its alternatives cannot be told apart by a type or a required constant; use anyOf"),
    ),
    (
        "min/maxProperties only supported",
        "minProperties",
        Some("it and maxProperties are only possible where all properties are required"),
    ),
    ("patternProperty regexes ", "patternProperties", None),
    (
        "Invalid type: ",
        "type",
        Some("it must be null, boolean, integer, number, string, array or object, or a list of them"),
    ),
    ("type must ", "type", None),
    ("enum must ", "enum", None),
    ("Only absolute $ref", "$ref", Some("it must begin with #/, within the schema")),
    ("Reference segment ", "$ref", Some("there is nothing at that place of the schema")),
    ("circular references ", "$ref", Some("a reference to itself cannot have other keywords beside it")),
    (
        "Unable to determine if regex is empty",
        "pattern",
        Some("it is too complex with the lengths and patterns beside it"),
    ),
    ("Failed to generate regex for integer range", "minimum", Some("the range of integers is too large")),
    ("Failed to generate regex for float range", "minimum", Some("the range of numbers is too large")),
];

/// A message of the compiler about a schema, with the place that it is about.
///
/// `refusal` compiles a schema and returns what the compiler says. The search ends at `deadline`.
pub(in super::super) fn explain(
    schema: &Value,
    message: &str,
    refusal: &dyn Fn(Value) -> Option<String>,
    deadline: Instant,
) -> String {
    let mut place = Place { pointer: "#".to_owned(), schema };
    let mut n_trials = 0;
    let mut is_refused = |part: &Value| {
        n_trials += 1;
        n_trials <= MAX_TRIALS
            && Instant::now() < deadline
            && refusal(framed(schema, part)).is_some_and(|refusal| refusal == message)
    };
    while let Some(part) = place.parts(schema).into_iter().find(|part| is_refused(part.schema)) {
        place = part;
    }
    place.say(message)
}

/// A part of a schema and its JSON pointer.
struct Place<'s> {
    pointer: String,
    schema: &'s Value,
}

impl<'s> Place<'s> {
    /// The schemas within this one.
    fn parts(&self, root: &'s Value) -> Vec<Place<'s>> {
        let Some(map) = self.schema.as_object() else { return Vec::new() };
        let mut parts = Vec::new();
        let mut add = |steps: &[&str], schema: &'s Value| {
            let mut pointer = self.pointer.clone();
            push(&mut pointer, steps);
            parts.push(Place { pointer, schema });
        };
        for keyword in SCHEMAS {
            match map.get(keyword) {
                Some(Value::Array(schemas)) => {
                    schemas
                        .iter()
                        .enumerate()
                        .for_each(|(index, each)| add(&[keyword, &index.to_string()], each));
                }
                Some(schema) => add(&[keyword], schema),
                None => {}
            }
        }
        for keyword in NAMED_SCHEMAS.into_iter().take(2) {
            let named = map.get(keyword).and_then(Value::as_object);
            named.into_iter().flatten().for_each(|(name, schema)| add(&[keyword, name], schema));
        }
        let target = map.get("$ref").and_then(Value::as_str).and_then(|reference| {
            let schema = root.pointer(reference.strip_prefix('#')?)?;
            Some(Place { pointer: reference.to_owned(), schema })
        });
        // A reference to a schema around it leads nowhere.
        parts.extend(target.filter(|target| !self.pointer.starts_with(&target.pointer)));
        parts
    }

    fn say(&self, message: &str) -> String {
        for (beginning, keyword, words) in MESSAGES {
            if message.starts_with(beginning) {
                return on(&self.pointer, keyword, words.unwrap_or(message));
            }
        }
        if let Some(rest) = message.strip_prefix("Unsatisfiable schema: ") {
            return format!("{}: nothing satisfies it: {rest}", self.pointer);
        }
        let keyword =
            ["pattern", "patternProperties"].into_iter().find(|keyword| self.schema.get(keyword).is_some());
        match keyword.filter(|_| message.contains("regular expression") || message.contains("regex")) {
            Some(keyword) => on(&self.pointer, keyword, message),
            None => format!("{}: {message}", self.pointer),
        }
    }
}

/// A part as a schema of its own, with the definitions of the whole.
fn framed(root: &Value, part: &Value) -> Value {
    let Some(part) = part.as_object() else { return part.clone() };
    let mut framed = Map::new();
    for keyword in ["$schema", "$id", "$defs", "definitions", "x-guidance"] {
        if let Some(value) = root.get(keyword) {
            framed.insert(keyword.to_owned(), value.clone());
        }
    }
    framed.extend(part.clone());
    Value::Object(framed)
}
