//! Output as values of a Rust type.

use schemars::{JsonSchema, SchemaGenerator};
use serde::de::DeserializeOwned;

use super::Engine;
use crate::{Error, GenerationOptions, Grammar, Prompt};

impl Engine {
    /// Generates JSON that matches the schema of a type, and deserializes it. Blocks. Replaces any grammar in the
    /// options and ignores `echo`.
    ///
    /// Without `#[serde(deny_unknown_fields)]`, the schema of a type allows additional fields.
    ///
    /// # Errors
    /// As [`Engine::generate`]; [`Error::Grammar`] if the schema cannot be enforced; [`Error::Incomplete`] if the text
    /// ends before the value is complete.
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
