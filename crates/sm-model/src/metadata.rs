//! Typed key-value metadata of GGUF files.
//!
//! Types are those of the GGUF specification (<https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>). Readers request
//! the type they need; integers of any width convert if the value fits, since writers disagree on widths.

use std::collections::BTreeMap;

use crate::LoadError;

/// One metadata value.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the variants are named after their types")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    String(String),
    Array(Array),
}

/// A metadata array, whose elements all have one type.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the variants are named after their types")]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bool(Vec<bool>),
    String(Vec<String>),
    Array(Vec<Array>),
}

impl Value {
    /// The name of the value's type, for error messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::U8(_) => "u8",
            Self::I8(_) => "i8",
            Self::U16(_) => "u16",
            Self::I16(_) => "i16",
            Self::U32(_) => "u32",
            Self::I32(_) => "i32",
            Self::U64(_) => "u64",
            Self::I64(_) => "i64",
            Self::F32(_) => "f32",
            Self::F64(_) => "f64",
            Self::Bool(_) => "a bool",
            Self::String(_) => "a string",
            Self::Array(array) => array.type_name(),
        }
    }

    /// The value as JSON; null for arrays.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match *self {
            Self::F32(v) => v.into(),
            Self::F64(v) => v.into(),
            Self::Bool(v) => v.into(),
            Self::String(ref v) => v.as_str().into(),
            Self::Array(_) => serde_json::Value::Null,
            _ => self.as_integer().and_then(|v| i64::try_from(v).ok()).into(),
        }
    }

    fn as_integer(&self) -> Option<i128> {
        match *self {
            Self::U8(v) => Some(v.into()),
            Self::I8(v) => Some(v.into()),
            Self::U16(v) => Some(v.into()),
            Self::I16(v) => Some(v.into()),
            Self::U32(v) => Some(v.into()),
            Self::I32(v) => Some(v.into()),
            Self::U64(v) => Some(v.into()),
            Self::I64(v) => Some(v.into()),
            Self::F32(_) | Self::F64(_) | Self::Bool(_) | Self::String(_) | Self::Array(_) => None,
        }
    }
}

impl Array {
    /// The name of the array's type, for error messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::U8(_) => "an array of u8",
            Self::I8(_) => "an array of i8",
            Self::U16(_) => "an array of u16",
            Self::I16(_) => "an array of i16",
            Self::U32(_) => "an array of u32",
            Self::I32(_) => "an array of i32",
            Self::U64(_) => "an array of u64",
            Self::I64(_) => "an array of i64",
            Self::F32(_) => "an array of f32",
            Self::F64(_) => "an array of f64",
            Self::Bool(_) => "an array of bool",
            Self::String(_) => "an array of strings",
            Self::Array(_) => "an array of arrays",
        }
    }
}

/// A type that [`Metadata::get`] can read.
pub trait FromValue<'a>: Sized {
    /// The values accepted, for error messages.
    const EXPECTED: &'static str;

    /// The value as this type; `None` if it has another type or is out of range.
    fn from_value(value: &'a Value) -> Option<Self>;
}

macro_rules! integer_from_value {
    ($($int:ty: $expected:literal),*) => {
        $(impl FromValue<'_> for $int {
            const EXPECTED: &'static str = $expected;

            fn from_value(value: &Value) -> Option<Self> {
                value.as_integer().and_then(|v| v.try_into().ok())
            }
        })*
    };
}

integer_from_value!(
    u32: "a non-negative integer below 2^32",
    i32: "a 32-bit integer",
    u64: "a non-negative integer",
    i64: "an integer",
    usize: "a non-negative integer"
);

impl FromValue<'_> for f32 {
    const EXPECTED: &'static str = "a float";

    fn from_value(value: &Value) -> Option<Self> {
        match *value {
            Value::F32(v) => Some(v),
            Value::F64(v) => Some(v as f32),
            _ => None,
        }
    }
}

impl FromValue<'_> for bool {
    const EXPECTED: &'static str = "a bool";

    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Bool(v) = value { Some(*v) } else { None }
    }
}

impl<'a> FromValue<'a> for &'a str {
    const EXPECTED: &'static str = "a string";

    fn from_value(value: &'a Value) -> Option<Self> {
        if let Value::String(v) = value { Some(v) } else { None }
    }
}

impl<'a> FromValue<'a> for &'a Array {
    const EXPECTED: &'static str = "an array";

    fn from_value(value: &'a Value) -> Option<Self> {
        if let Value::Array(v) = value { Some(v) } else { None }
    }
}

macro_rules! slice_from_value {
    ($($variant:ident $item:ty: $expected:literal),*) => {
        $(impl<'a> FromValue<'a> for &'a [$item] {
            const EXPECTED: &'static str = $expected;

            fn from_value(value: &'a Value) -> Option<Self> {
                if let Value::Array(Array::$variant(v)) = value { Some(v) } else { None }
            }
        })*
    };
}

slice_from_value!(
    U8 u8: "an array of u8",
    U32 u32: "an array of u32",
    I32 i32: "an array of i32",
    F32 f32: "an array of f32",
    Bool bool: "an array of bool",
    String String: "an array of strings"
);

/// Metadata entries, sorted by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    entries: BTreeMap<String, Value>,
}

impl Metadata {
    /// The value of `key` as a `T`; `None` if the key is absent.
    ///
    /// # Errors
    /// [`LoadError::KeyType`] if the value has another type or is out of range.
    pub fn get<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<Option<T>, LoadError> {
        let Some(value) = self.entries.get(key) else { return Ok(None) };
        T::from_value(value).map(Some).ok_or_else(|| {
            let found = match value.as_integer() {
                Some(number) => format!("{} {number}", value.type_name()),
                None => value.type_name().to_owned(),
            };
            LoadError::KeyType { key: key.to_owned(), found, expected: T::EXPECTED }
        })
    }

    /// The value of `key` as a `T`.
    ///
    /// # Errors
    /// [`LoadError::MissingKey`] if the key is absent, else as [`Metadata::get`].
    pub fn require<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<T, LoadError> {
        self.get(key)?.ok_or_else(|| LoadError::MissingKey { key: key.to_owned() })
    }

    /// The value of `key`, whatever its type.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.entries.get(key)
    }

    /// Sets a value, and returns the one it replaces.
    pub fn insert(&mut self, key: impl Into<String>, value: Value) -> Option<Value> {
        self.entries.insert(key.into(), value)
    }

    /// Takes a value out.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.entries.remove(key)
    }

    /// All entries, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_convert_when_they_fit() {
        let mut metadata = Metadata::default();
        metadata.insert("small", Value::U64(7));
        metadata.insert("negative", Value::I32(-1));
        assert_eq!(metadata.require::<u32>("small").unwrap(), 7);
        assert_eq!(metadata.require::<i64>("negative").unwrap(), -1);
        let message = metadata.require::<u32>("negative").unwrap_err().to_string();
        assert_eq!(message, "\"negative\" is i32 -1, expected a non-negative integer below 2^32");
    }

    #[test]
    fn missing_and_mistyped_keys_are_named() {
        let mut metadata = Metadata::default();
        metadata.insert("tokens", Value::Array(Array::F32(vec![1.0])));
        assert_eq!(metadata.require::<&str>("model").unwrap_err().to_string(), "\"model\" is missing");
        assert_eq!(
            metadata.get::<&[String]>("tokens").unwrap_err().to_string(),
            "\"tokens\" is an array of f32, expected an array of strings"
        );
        assert_eq!(metadata.get::<&[f32]>("tokens").unwrap(), Some(&[1.0][..]));
    }
}
