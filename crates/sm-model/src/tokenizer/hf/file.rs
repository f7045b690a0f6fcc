//! A `tokenizer.json` made ready for the library: its expressions in the library's dialect.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use super::oniguruma;

/// The fields in which regular expressions occur.
const WITH_EXPRESSIONS: [&str; 3] = ["normalizer", "pre_tokenizer", "decoder"];

/// The parts of a file that we read ourselves, and the file for the library.
pub(super) struct TokenizerFile<'a> {
    pub(super) decoder: Value,
    pub(super) added_tokens: Vec<AddedToken>,
    pub(super) json: Cow<'a, [u8]>,
}

#[derive(Deserialize)]
pub(super) struct AddedToken {
    pub(super) id: u32,
    pub(super) content: String,
}

impl<'a> TokenizerFile<'a> {
    /// Reads a file. Only what it contains beside the vocabulary is parsed here; the rest is checked to be JSON.
    ///
    /// # Errors
    /// The parser's.
    pub(super) fn parse(json: &'a [u8]) -> serde_json::Result<Self> {
        let mut fields: BTreeMap<String, Cow<'a, RawValue>> =
            serde_json::from_slice::<BTreeMap<String, &RawValue>>(json)?
                .into_iter()
                .map(|(name, value)| (name, Cow::Borrowed(value)))
                .collect();
        let mut is_changed = false;
        for name in WITH_EXPRESSIONS {
            let mut part: Value = field(&fields, name)?;
            if translate(&mut part) {
                is_changed = true;
                fields.insert(name.to_owned(), Cow::Owned(serde_json::value::to_raw_value(&part)?));
            }
        }
        let decoder = field(&fields, "decoder")?;
        let added_tokens = field(&fields, "added_tokens")?;
        let json = if is_changed { serde_json::to_vec(&fields)?.into() } else { Cow::Borrowed(json) };
        Ok(Self { decoder, added_tokens, json })
    }
}

fn field<T: DeserializeOwned + Default>(
    fields: &BTreeMap<String, Cow<'_, RawValue>>,
    name: &str,
) -> serde_json::Result<T> {
    fields.get(name).map_or_else(|| Ok(T::default()), |value| serde_json::from_str(value.get()))
}

/// Translates the expressions in a part of a file; whether there are any that read differently.
fn translate(part: &mut Value) -> bool {
    match part {
        Value::Object(fields) => fields.iter_mut().fold(false, |is_changed, (name, value)| match value {
            Value::String(pattern) if name == "Regex" => {
                let translated = oniguruma::translate(pattern);
                let differs = translated != *pattern;
                *pattern = translated;
                is_changed | differs
            }
            _ => is_changed | translate(value),
        }),
        Value::Array(parts) => parts.iter_mut().fold(false, |is_changed, part| is_changed | translate(part)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_expressions_that_read_differently_make_another_file() {
        let json = br#"{"pre_tokenizer": {"pattern": {"Regex": "a+"}}, "model": {"Regex": "a{1}+"}, "added_tokens": [{"id": 3, "content": "x"}]}"#;
        let file = TokenizerFile::parse(json).unwrap();
        assert!(matches!(file.json, Cow::Borrowed(_)));
        assert_eq!((file.added_tokens[0].id, file.added_tokens[0].content.as_str()), (3, "x"));
        let json = br#"{"decoder": {"parts": [{"Regex": "a{1}+"}]}, "model": {"x": [1.50, "\u00e9"]}}"#;
        let file = TokenizerFile::parse(json).unwrap();
        assert_eq!(
            file.json,
            Cow::<[u8]>::Borrowed(
                br#"{"decoder":{"parts":[{"Regex":"(?:a{1})+"}]},"model":{"x": [1.50, "\u00e9"]}}"#
            )
        );
        assert!(TokenizerFile::parse(b"[1]").is_err() && TokenizerFile::parse(b"{").is_err());
    }
}
