//! A `tokenizer.json` made ready for the library: its expressions in the library's dialect.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use super::layout::Layout;
use super::oniguruma;

/// The fields in which regular expressions occur.
const WITH_EXPRESSIONS: [&str; 3] = ["normalizer", "pre_tokenizer", "decoder"];

/// The parts of a file that we read ourselves, and the file for the library.
pub(super) struct TokenizerFile<'a> {
    pub(super) normalizer: Value,
    pub(super) decoder: Value,
    pub(super) added_tokens: Vec<AddedToken>,
    pub(super) json: Cow<'a, [u8]>,
    /// How our own code runs it.
    pub(super) layout: Option<Layout>,
}

#[derive(Deserialize)]
pub(super) struct AddedToken {
    pub(super) id: u32,
    pub(super) content: String,
}

impl<'a> TokenizerFile<'a> {
    /// Reads a file. If our own code runs it, the library gets it without merges: all it has to do is number the tokens.
    ///
    /// # Errors
    /// The parser's.
    pub(super) fn parse(json: &'a [u8], runner: Runner) -> serde_json::Result<Self> {
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
        let normalizer = field(&fields, "normalizer")?;
        let layout = match (runner, fields.get("model")) {
            (Runner::OwnCode, Some(model)) => {
                Layout::read(&normalizer, &field(&fields, "pre_tokenizer")?, model)
            }
            _ => None,
        };
        let decoder = field(&fields, "decoder")?;
        let added_tokens = field(&fields, "added_tokens")?;
        if layout.is_some()
            && let Some(model) = fields.get("model")
        {
            let model = without_merges(model)?;
            fields.insert("model".to_owned(), Cow::Owned(model));
            is_changed = true;
        }
        let json = if is_changed { serde_json::to_vec(&fields)?.into() } else { Cow::Borrowed(json) };
        Ok(Self { normalizer, decoder, added_tokens, json, layout })
    }
}

/// What runs a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runner {
    /// Our own code, if it can.
    OwnCode,
    /// The crate `tokenizers`.
    Library,
}

/// A byte-pair model that only has a vocabulary.
fn without_merges(model: &RawValue) -> serde_json::Result<Box<RawValue>> {
    #[derive(Deserialize)]
    struct Model<'a> {
        #[serde(borrow)]
        vocab: &'a RawValue,
    }
    let Model { vocab } = serde_json::from_str(model.get())?;
    RawValue::from_string(format!(r#"{{"type": "BPE", "merges": [], "vocab": {vocab}}}"#))
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
        let file = TokenizerFile::parse(json, Runner::OwnCode).unwrap();
        assert!(matches!(file.json, Cow::Borrowed(_)));
        assert_eq!((file.added_tokens[0].id, file.added_tokens[0].content.as_str()), (3, "x"));
        let json = br#"{"decoder": {"parts": [{"Regex": "a{1}+"}]}, "model": {"x": [1.50, "\u00e9"]}}"#;
        let file = TokenizerFile::parse(json, Runner::OwnCode).unwrap();
        assert_eq!(
            file.json,
            Cow::<[u8]>::Borrowed(
                br#"{"decoder":{"parts":[{"Regex":"(?:a{1})+"}]},"model":{"x": [1.50, "\u00e9"]}}"#
            )
        );
        assert!(
            TokenizerFile::parse(b"[1]", Runner::OwnCode).is_err()
                && TokenizerFile::parse(b"{", Runner::OwnCode).is_err()
        );
    }
}
