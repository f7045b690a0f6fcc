//! The fields of a JSON object in order, including duplicates.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// The fields of an object.
#[derive(Debug, PartialEq)]
pub(super) struct Fields(pub(super) Vec<(String, Value)>);

impl Fields {
    /// Parses an object.
    ///
    /// # Errors
    /// If the text is not an object, with the column.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text.trim_end()).map_err(|error| {
            let message = error.to_string();
            let place = format!(" at line {} column {}", error.line(), error.column());
            format!("column {}: {}", error.column(), message.strip_suffix(&place).unwrap_or(&message))
        })
    }

    /// The first field of that name.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(each, _)| each == name).map(|(_, value)| value)
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_not_an_object_is_refused_with_the_column() {
        for (text, parts) in [
            ("{\"a\": 1", ["column 7", "EOF"]),
            ("{\"a\": tru}", ["column 10", "expected"]),
            ("[1]", ["column 0", "an object"]),
            ("{} {}", ["column 4", "trailing"]),
        ] {
            let error = Fields::parse(text).unwrap_err();
            assert!(parts.iter().all(|part| error.contains(part)) && !error.contains("line 1"), "{error}");
        }
        let twice = Fields::parse("{\"a\": 1, \"a\": [2]}\r\n").unwrap();
        assert_eq!(twice.0.len(), 2);
        assert_eq!(twice.get("a"), Some(&Value::from(1)));
    }
}
