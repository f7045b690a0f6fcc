//! Typed access to the fields of a `config.json`.

use std::path::Path;

use serde_json::{Map, Value};

use crate::LoadError;

/// The largest extent of any dimension; a larger one is damage, and would ask for more memory than there is.
pub(crate) const MAX_EXTENT: usize = 1 << 24;
/// The largest head.
pub(crate) const MAX_HEAD_DIM: usize = 1 << 14;
/// The largest number of layers or experts.
pub(crate) const MAX_REPEATS: usize = 4096;
/// The longest context.
pub(crate) const MAX_CONTEXT: usize = 1 << 28;

/// The fields of a `config.json`. A field that is `null` counts as missing.
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
        let fields = serde_json::from_slice(bytes).map_err(|source| LoadError::Json { source })?;
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

    /// A number from 1 to `max`, if there is one.
    pub(crate) fn count(&self, key: &str, max: usize) -> Result<Option<usize>, LoadError> {
        let Some(found) = self.typed(key, "a non-negative integer", Value::as_u64)? else { return Ok(None) };
        match usize::try_from(found) {
            Ok(count) if 0 < count && count <= max => Ok(Some(count)),
            _ => Err(unsupported(key, found, format!("it must lie in 1..={max}"))),
        }
    }

    /// A number from 1 to `max`.
    pub(crate) fn require_count(&self, key: &str, max: usize) -> Result<usize, LoadError> {
        self.count(key, max)?.ok_or_else(|| LoadError::MissingKey { key: key.to_owned() })
    }

    /// A finite number, if there is one.
    pub(crate) fn number(&self, key: &str) -> Result<Option<f64>, LoadError> {
        self.typed(key, "a finite number", |value| value.as_f64().filter(|number| number.is_finite()))
    }

    /// A number above zero, if there is one.
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

    /// The strings of a list.
    pub(crate) fn texts(&self, key: &str) -> Result<Option<Vec<&str>>, LoadError> {
        self.typed(key, "a list of strings", |value| value.as_array()?.iter().map(Value::as_str).collect())
    }

    /// The numbers of a list.
    pub(crate) fn numbers(&self, key: &str) -> Result<Option<Vec<f32>>, LoadError> {
        let read = |value: &Value| Some(value.as_f64()? as f32).filter(|number| number.is_finite());
        self.typed(key, "a list of finite numbers", |value| value.as_array()?.iter().map(read).collect())
    }

    /// The non-negative integers of a list, or of a single one.
    pub(crate) fn integers(&self, key: &str) -> Result<Option<Vec<u64>>, LoadError> {
        self.typed(key, "a non-negative integer or a list of them", |value| match value.as_array() {
            Some(list) => list.iter().map(Value::as_u64).collect(),
            None => value.as_u64().map(|id| vec![id]),
        })
    }

    /// The fields of an object.
    pub(crate) fn object(&self, key: &str) -> Result<Option<Self>, LoadError> {
        let fields = self.typed(key, "an object", Value::as_object)?;
        Ok(fields.map(|fields| Self { fields: fields.clone() }))
    }

    /// The same, where fields that are missing (not `null`) take the value they have in `defaults`, a JSON object.
    pub(crate) fn or_defaults(&self, defaults: Value) -> Self {
        let mut fields = self.fields.clone();
        if let Value::Object(defaults) = defaults {
            for (key, value) in defaults {
                fields.entry(key).or_insert(value);
            }
        }
        Self { fields }
    }

    /// The same without some fields.
    pub(crate) fn without(&self, keys: &[&str]) -> Self {
        let mut fields = self.fields.clone();
        fields.retain(|key, _| !keys.contains(&key.as_str()));
        Self { fields }
    }

    /// The configuration of the text model in that of a model of several modalities; itself otherwise.
    pub(crate) fn text_model(self) -> Result<Self, LoadError> {
        let Some(mut text) = self.object("text_config")? else { return Ok(self) };
        // The outer configuration names the whole model and how it is to be run.
        for key in ["architectures", "model_type"] {
            if let Some(value) = self.fields.get(key) {
                text.fields.insert(key.to_owned(), value.clone());
            }
        }
        Ok(text.or_defaults(Value::Object(self.fields)))
    }

    /// A field of any type.
    pub(crate) fn value(&self, key: &str) -> Option<&Value> {
        self.get(key)
    }

    /// Refuses a feature that is switched on by `key`.
    pub(crate) fn refuse(&self, key: &str, reason: &str) -> Result<(), LoadError> {
        match self.get(key) {
            None | Some(Value::Bool(false)) => Ok(()),
            Some(value) => Err(unsupported(key, value, reason.to_owned())),
        }
    }
}

/// The error for a value that makes no sense or that nothing here implements.
pub(crate) fn unsupported(key: &str, value: impl std::fmt::Display, reason: String) -> LoadError {
    LoadError::Unsupported { key: key.to_owned(), value: value.to_string(), reason }
}
