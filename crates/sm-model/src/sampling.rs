//! How a model's authors recommend to sample from it.
//!
//! Hugging Face directories say it in `generation_config.json`, GGUF files under `general.sampling.`, where llama.cpp's converter
//! copies it to.

use std::io::ErrorKind;
use std::path::Path;

use serde_json::Value;

use crate::metadata::Metadata;
use crate::{LoadError, Model, ModelSource, json};

/// What a model's files say about sampling. Fields that they leave out are `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SamplingDefaults {
    /// Divisor of the logits; 0 always picks the most likely token.
    pub temperature: Option<f32>,
    /// Number of most likely tokens that are kept; 0 keeps all.
    pub top_k: Option<usize>,
    /// Total probability of the tokens that are kept.
    pub top_p: Option<f32>,
    /// Least probability relative to the most likely token.
    pub min_p: Option<f32>,
    /// Factor on the logits of tokens that occurred.
    pub repetition_penalty: Option<f32>,
}

impl SamplingDefaults {
    /// Those of a model.
    ///
    /// # Errors
    /// If a file cannot be read, or a value is of the wrong type or out of range.
    pub fn of_model(model: &Model) -> Result<Self, LoadError> {
        match &model.source {
            ModelSource::Directory(dir) => Self::from_dir(dir),
            ModelSource::Gguf { metadata, .. } => Self::from_metadata(metadata),
            ModelSource::Smnd { .. } => Ok(Self::default()),
        }
    }

    /// Those of a Hugging Face directory.
    fn from_dir(dir: &Path) -> Result<Self, LoadError> {
        let path = dir.join("generation_config.json");
        let config: Value = match std::fs::read(&path) {
            Ok(bytes) => json::parse(&bytes).map_err(|source| LoadError::Json { source }.in_file(&path))?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(LoadError::Io { path, source }),
        };
        let number = |key: &'static str| Number { key, value: config[key].as_f64(), given: &config[key] };
        let defaults = Self::checked(&[
            number("temperature"),
            number("top_k"),
            number("top_p"),
            number("min_p"),
            number("repetition_penalty"),
        ]);
        let defaults = defaults.map_err(|error| error.in_file(&path))?;
        // As in transformers, whatever the other fields say.
        let is_greedy = config["do_sample"] == false;
        Ok(Self { temperature: if is_greedy { Some(0.0) } else { defaults.temperature }, ..defaults })
    }

    /// Those of a GGUF file.
    fn from_metadata(metadata: &Metadata) -> Result<Self, LoadError> {
        let given = |key: &str| metadata.value(key).map_or(Value::Null, crate::metadata::Value::to_json);
        let keys = ["temp", "top_k", "top_p", "min_p", "penalty_repeat"]
            .map(|key| format!("general.sampling.{key}"));
        let values = keys.each_ref().map(|key| given(key));
        let numbers: Vec<_> = keys
            .iter()
            .zip(&values)
            .map(|(key, given)| Number { key, value: given.as_f64(), given })
            .collect();
        Self::checked(&numbers)
    }

    /// The defaults from numbers in the order of the fields.
    fn checked(numbers: &[Number<'_>]) -> Result<Self, LoadError> {
        let [temperature, top_k, top_p, min_p, repetition_penalty] = numbers else {
            return Ok(Self::default());
        };
        let is_fraction = |value: f64| (0.0..=1.0).contains(&value);
        // In both kinds of files, a negative number also keeps all tokens.
        let top_k = top_k.within(|value| value.fract() == 0.0 && value < 1e9, "an integer")?;
        Ok(Self {
            temperature: temperature.within(|value| value >= 0.0, "0 or more")?,
            top_k: top_k.map(|top_k| top_k.max(0.0) as usize),
            top_p: top_p.within(is_fraction, "between 0 and 1")?,
            min_p: min_p.within(is_fraction, "between 0 and 1")?,
            repetition_penalty: repetition_penalty
                .within(|value| (0.01..=100.0).contains(&value), "between 0.01 and 100")?,
        })
    }
}

/// A number of a file.
struct Number<'a> {
    key: &'a str,
    value: Option<f64>,
    given: &'a Value,
}

impl Number<'_> {
    /// The number, if it is there.
    fn within(&self, is_valid: impl Fn(f64) -> bool, rule: &'static str) -> Result<Option<f32>, LoadError> {
        match self.value {
            None if self.given.is_null() => Ok(None),
            Some(value) if value.is_finite() && is_valid(value) => Ok(Some(value as f32)),
            _ => {
                let found = self.given.to_string().chars().take(60).collect();
                Err(LoadError::KeyType { key: self.key.to_owned(), found, expected: rule })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Value as Entry;

    #[test]
    fn metadata_say_what_is_recommended() {
        let mut metadata = Metadata::default();
        assert_eq!(SamplingDefaults::from_metadata(&metadata).unwrap(), SamplingDefaults::default());
        let entries = [
            ("temp", Entry::F32(0.6)),
            ("top_k", Entry::I32(20)),
            ("top_p", Entry::F32(0.95)),
            ("min_p", Entry::F64(0.0)),
            ("penalty_repeat", Entry::U32(1)),
        ];
        for (key, value) in entries {
            metadata.insert(format!("general.sampling.{key}"), value);
        }
        let expected = SamplingDefaults {
            temperature: Some(0.6),
            top_k: Some(20),
            top_p: Some(0.95),
            min_p: Some(0.0),
            repetition_penalty: Some(1.0),
        };
        assert_eq!(SamplingDefaults::from_metadata(&metadata).unwrap(), expected);
        metadata.insert("general.sampling.top_k", Entry::I32(-1));
        assert_eq!(SamplingDefaults::from_metadata(&metadata).unwrap().top_k, Some(0));
        for (key, value) in [("temp", Entry::F32(-1.0)), ("top_p", Entry::String("high".into()))] {
            let mut wrong = metadata.clone();
            wrong.insert(format!("general.sampling.{key}"), value);
            let message = SamplingDefaults::from_metadata(&wrong).unwrap_err().to_string();
            assert!(message.contains(key) && message.contains("expected"), "{message}");
        }
    }

    #[test]
    fn a_directory_says_what_is_recommended() {
        let dir = std::env::temp_dir().join(format!("sm-generation-config-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let cases = [
            ("{}", Ok((None, None))),
            (
                r#"{"do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": null}"#,
                Ok((Some(0.6), Some(20))),
            ),
            (r#"{"temperature": 1, "top_k": 0}"#, Ok((Some(1.0), Some(0)))),
            (r#"{"do_sample": false, "temperature": 0.6}"#, Ok((Some(0.0), None))),
            (r#"{"temperature": Infinity}"#, Ok((None, None))),
            (r#"{"top_k": 1.5}"#, Err("an integer")),
            (r#"{"top_k": "#, Err("generation_config.json")),
        ];
        for (config, expected) in cases {
            std::fs::write(dir.join("generation_config.json"), config).unwrap();
            let found = SamplingDefaults::from_dir(&dir);
            match (found, expected) {
                (Ok(found), Ok(expected)) => {
                    assert_eq!((found.temperature, found.top_k), expected, "{config}");
                }
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{config}: {error}"),
                (found, _) => panic!("{config}: {found:?}"),
            }
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
