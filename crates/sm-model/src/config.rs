//! Typed access to the fields of a `config.json`.
//!
//! Configurations are untrusted: every number is checked against a limit that no real model exceeds before it is used as an
//! extent, and every error names the field.

use std::path::Path;

use serde_json::{Map, Value};

use crate::{LoadError, json};

/// Maximum extent of any dimension. A larger one indicates a damaged file and would cause absurd allocations.
pub(crate) const MAX_EXTENT: usize = 1 << 24;
/// Maximum head dimension.
pub(crate) const MAX_HEAD_DIM: usize = 1 << 14;
/// Maximum number of layers or experts.
pub(crate) const MAX_REPEATS: usize = 4096;
/// Maximum context length.
pub(crate) const MAX_CONTEXT: usize = 1 << 28;

/// The fields of a `config.json`. `null` counts as absent.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    fields: Map<String, Value>,
}

impl Config {
    /// Reads a file.
    pub(crate) fn open(path: &Path) -> Result<Self, LoadError> {
        let bytes = std::fs::read(path).map_err(|source| LoadError::Io { path: path.to_owned(), source })?;
        Self::parse(&bytes).map_err(|error| error.in_file(path))
    }

    /// Reads JSON.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, LoadError> {
        let fields = json::parse(bytes).map_err(|source| LoadError::Json { source })?;
        Ok(Self { fields })
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.fields.get(key).filter(|value| !value.is_null())
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, LoadError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| {
            let mut found = value.to_string();
            if found.len() > 60 {
                found = format!("{}…", found.chars().take(60).collect::<String>());
            }
            LoadError::KeyType { key: key.to_owned(), found, expected }
        })
    }

    /// An integer from 1 to `max`; `None` if absent.
    pub(crate) fn count(&self, key: &str, max: usize) -> Result<Option<usize>, LoadError> {
        let Some(found) = self.typed(key, "a non-negative integer", Value::as_u64)? else { return Ok(None) };
        match usize::try_from(found) {
            Ok(count) if 0 < count && count <= max => Ok(Some(count)),
            _ => Err(unsupported(key, found, format!("it must be in 1..={max}"))),
        }
    }

    /// An integer from 1 to `max`, which must be present.
    pub(crate) fn require_count(&self, key: &str, max: usize) -> Result<usize, LoadError> {
        self.count(key, max)?.ok_or_else(|| LoadError::MissingKey { key: key.to_owned() })
    }

    /// A finite number; `None` if absent.
    pub(crate) fn number(&self, key: &str) -> Result<Option<f64>, LoadError> {
        self.typed(key, "a finite number", |value| value.as_f64().filter(|number| number.is_finite()))
    }

    /// A positive number; `None` if absent.
    pub(crate) fn positive(&self, key: &str) -> Result<Option<f64>, LoadError> {
        let number = self.number(key)?;
        match number {
            Some(value) if value <= 0.0 => Err(unsupported(key, value, "it must be positive".into())),
            _ => Ok(number),
        }
    }

    pub(crate) fn bool(&self, key: &str) -> Result<Option<bool>, LoadError> {
        self.typed(key, "true or false", Value::as_bool)
    }

    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>, LoadError> {
        self.typed(key, "a string", Value::as_str)
    }

    /// A list of strings; `None` if absent.
    pub(crate) fn texts(&self, key: &str) -> Result<Option<Vec<&str>>, LoadError> {
        self.typed(key, "a list of strings", |value| value.as_array()?.iter().map(Value::as_str).collect())
    }

    /// A list of finite numbers; `None` if absent.
    pub(crate) fn numbers(&self, key: &str) -> Result<Option<Vec<f32>>, LoadError> {
        let read = |value: &Value| Some(value.as_f64()? as f32).filter(|number| number.is_finite());
        self.typed(key, "a list of finite numbers", |value| value.as_array()?.iter().map(read).collect())
    }

    /// A list of non-negative integers, or a single one; `None` if absent.
    pub(crate) fn integers(&self, key: &str) -> Result<Option<Vec<u64>>, LoadError> {
        self.typed(key, "a non-negative integer or a list of them", |value| match value.as_array() {
            Some(list) => list.iter().map(Value::as_u64).collect(),
            None => value.as_u64().map(|id| vec![id]),
        })
    }

    /// A nested object; `None` if absent.
    pub(crate) fn object(&self, key: &str) -> Result<Option<Self>, LoadError> {
        let fields = self.typed(key, "an object", Value::as_object)?;
        Ok(fields.map(|fields| Self { fields: fields.clone() }))
    }

    /// Fills missing (not `null`) fields from `defaults`, a JSON object.
    pub(crate) fn or_defaults(&self, defaults: Value) -> Self {
        let mut fields = self.fields.clone();
        if let Value::Object(defaults) = defaults {
            for (key, value) in defaults {
                fields.entry(key).or_insert(value);
            }
        }
        Self { fields }
    }

    /// Sets fields to `values`, a JSON object.
    pub(crate) fn with(&self, values: Value) -> Self {
        let mut fields = self.fields.clone();
        if let Value::Object(values) = values {
            fields.extend(values);
        }
        Self { fields }
    }

    /// The text model's part of a multimodal configuration; otherwise the configuration itself.
    pub(crate) fn text_model(self) -> Result<Self, LoadError> {
        let Some(mut text) = self.object("text_config")? else { return Ok(self) };
        // The outer configuration names the architecture.
        for key in ["architectures", "model_type"] {
            if let Some(value) = self.fields.get(key) {
                text.fields.insert(key.to_owned(), value.clone());
            }
        }
        Ok(text.or_defaults(Value::Object(self.fields)))
    }

    /// The names of all fields that are not `null`.
    pub(crate) fn names(&self) -> Vec<String> {
        self.fields.keys().filter(|key| self.get(key).is_some()).cloned().collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// A field of any type; `None` if absent.
    pub(crate) fn value(&self, key: &str) -> Option<&Value> {
        self.get(key)
    }

    /// Fails if `key` enables a feature, that is, unless it is absent or `false`.
    pub(crate) fn refuse(&self, key: &str, reason: &str) -> Result<(), LoadError> {
        match self.get(key) {
            None | Some(Value::Bool(false)) => Ok(()),
            Some(value) => Err(unsupported(key, value, reason.to_owned())),
        }
    }
}

/// The error for an invalid or unsupported value.
pub(crate) fn unsupported(key: &str, value: impl std::fmt::Display, reason: String) -> LoadError {
    LoadError::Unsupported { key: key.to_owned(), value: value.to_string(), reason }
}
