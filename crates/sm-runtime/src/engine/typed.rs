//! Answers as values of a Rust type.

use schemars::{JsonSchema, SchemaGenerator};
use serde::de::DeserializeOwned;

use super::Engine;
use crate::{Error, GenerationOptions, Grammar, Prompt};

impl Engine {
    /// Continues a prompt with JSON that fits the schema of a type, and reads it. Blocks; a grammar of the options is replaced, and nothing is
    /// echoed.
    /// A type with `#[serde(deny_unknown_fields)]` gets its fields and no others; without it, its schema allows any.
    ///
    /// # Errors
    /// As [`Engine::generate`]; [`Error::Grammar`] if the schema cannot be enforced; [`Error::Incomplete`] if the text ends
    /// before it is a value.
    pub fn generate_typed<T: JsonSchema + DeserializeOwned>(
        &self,
        prompt: Prompt,
        options: &GenerationOptions,
    ) -> Result<T, Error> {
        let schema = SchemaGenerator::default().into_root_schema_for::<T>();
        let grammar = Some(Grammar::JsonSchema(schema.as_value().to_string()));
        let completion =
            self.generate(prompt, &GenerationOptions { grammar, echo: false, ..options.clone() })?;
        serde_json::from_str(&completion.text).map_err(|source| Error::Incomplete {
            finish_reason: completion.finish_reason,
            text: completion.text,
            source,
        })
    }
}
