//! Reads which parts a `tokenizer.json` has, and whether our own code runs them.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::tokenizer::bpe::{Bpe, TextVocabulary};
use crate::tokenizer::encoder::{Encoder, Form};
use crate::tokenizer::split::{GPT2, Splitter};

/// A file that our own code runs.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) encoder: Encoder,
    pub(super) normal: Normal,
}

/// What happens to a text before it is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Normal {
    AsItIs,
    Nfc,
    /// Spaces become `▁`, and one may be put before the text.
    Underscores(Lead),
}

/// When `▁` is put before a text between added tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lead {
    Never,
    Always,
    UnlessThere,
    /// Unless it is there, or the text does not start the whole one.
    AtTheStart,
}

/// The object `model`.
#[derive(Deserialize)]
struct Model<'a> {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    dropout: Option<f32>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    #[serde(borrow)]
    vocab: &'a RawValue,
    #[serde(borrow)]
    merges: &'a RawValue,
}

/// What the pre-tokenizer says.
#[derive(Default)]
struct Pieces {
    patterns: Vec<String>,
    is_byte_level: bool,
    underscores: Option<Lead>,
    /// Which means nothing once a normalizer has replaced them.
    splits_at_spaces: bool,
}

impl Layout {
    /// The layout of a file with these parts; `None` if the library has to run it, or to say what is wrong with it.
    pub(super) fn read(normalizer: &Value, pre_tokenizer: &Value, model: &RawValue) -> Option<Self> {
        let model: Model<'_> = serde_json::from_str(model.get()).ok()?;
        let is_plain = model.kind.as_deref().is_none_or(|kind| kind == "BPE")
            && model.dropout.is_none_or(|dropout| dropout == 0.0)
            && model.continuing_subword_prefix.is_none_or(|prefix| prefix.is_empty())
            && model.end_of_word_suffix.is_none_or(|suffix| suffix.is_empty());
        if !is_plain {
            return None;
        }
        let mut pieces = Pieces::default();
        pieces.add(pre_tokenizer)?;
        let normal = match (normal(normalizer)?, pieces.underscores, pieces.splits_at_spaces) {
            (normal, None, false) => normal,
            (Normal::Underscores(lead), None, true) | (Normal::AsItIs, Some(lead), false) => {
                Normal::Underscores(lead)
            }
            _ => return None,
        };
        let form = match normal {
            Normal::Underscores(_) if !pieces.is_byte_level && pieces.patterns.is_empty() => {
                Form::Underscored
            }
            Normal::AsItIs | Normal::Nfc if pieces.is_byte_level => Form::ByteLevel,
            _ => return None,
        };
        let vocab: HashMap<Cow<'_, str>, u32> = serde_json::from_str(model.vocab.get()).ok()?;
        let vocabulary = TextVocabulary::new(vocab.iter().map(|(text, &id)| (&**text, id)).collect());
        let bpe = bpe(&vocabulary, form, (model.byte_fallback, model.ignore_merges), model.merges)?;
        let patterns: Vec<&str> = pieces.patterns.iter().map(String::as_str).collect();
        let splitter = Splitter::new(&patterns).ok()?;
        Some(Self { encoder: Encoder { splitter, bpe, form }, normal })
    }
}

/// The vocabulary with its merges, if every text can be written in it: what the library does with the rest is its own.
fn bpe(
    vocabulary: &TextVocabulary<'_>,
    form: Form,
    (byte_fallback, ignores_merges): (bool, bool),
    merges: &RawValue,
) -> Option<Bpe> {
    let pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = match serde_json::from_str(merges.get()) {
        Ok(pairs) => pairs,
        Err(_) => {
            let lines: Vec<String> = serde_json::from_str(merges.get()).ok()?;
            let lines = lines.into_iter().filter(|line| !line.starts_with("#version"));
            let pair = |line: String| match line.split_once(' ')? {
                (_, right) if right.contains(' ') => None,
                (left, right) => Some((left.to_owned().into(), right.to_owned().into())),
            };
            lines.map(pair).collect::<Option<_>>()?
        }
    };
    let merges = pairs.iter().map(|(left, right)| vocabulary.merge((&**left, &**right)));
    let merges = merges.collect::<Result<Vec<_>, _>>().ok()?;
    match form {
        Form::ByteLevel => {
            vocabulary.has_all_letters().then(|| vocabulary.byte_level(&merges, ignores_merges))
        }
        Form::Plain | Form::Underscored => (byte_fallback && vocabulary.has_all_bytes())
            .then(|| vocabulary.of_characters(&merges, ignores_merges)),
    }
}

/// What a normalizer does, if it is one of those we know.
fn normal(normalizer: &Value) -> Option<Normal> {
    let parts = parts(normalizer, "normalizers");
    let is = |part: &Value, kind: &str| part["type"] == kind;
    let replaces_spaces =
        |part: &Value| is(part, "Replace") && part["pattern"]["String"] == " " && part["content"] == "▁";
    match parts[..] {
        [] => Some(Normal::AsItIs),
        [part] if is(part, "NFC") => Some(Normal::Nfc),
        [part] if replaces_spaces(part) => Some(Normal::Underscores(Lead::Never)),
        [first, second] if is(first, "Prepend") && first["prepend"] == "▁" && replaces_spaces(second) => {
            Some(Normal::Underscores(Lead::Always))
        }
        _ => None,
    }
}

impl Pieces {
    fn add(&mut self, pre_tokenizer: &Value) -> Option<()> {
        for part in parts(pre_tokenizer, "pretokenizers") {
            if self.is_byte_level {
                return None;
            }
            match part["type"].as_str()? {
                "Split" => self.add_split(part)?,
                "Digits" if part["individual_digits"] == true => self.patterns.push(r"\p{N}".to_owned()),
                "ByteLevel" if part["add_prefix_space"] == false => {
                    if part["use_regex"] != false {
                        self.patterns.push(GPT2.to_owned());
                    }
                    self.is_byte_level = true;
                }
                "Metaspace" if part["split"] == false && part["replacement"] == "▁" => {
                    self.underscores = Some(match part["prepend_scheme"].as_str()? {
                        "never" => Lead::Never,
                        "always" => Lead::UnlessThere,
                        "first" => Lead::AtTheStart,
                        _ => return None,
                    });
                }
                _ => return None,
            }
        }
        Some(())
    }

    fn add_split(&mut self, part: &Value) -> Option<()> {
        // Spaces that a normalizer has replaced.
        if part["pattern"]["String"] == " "
            && part["behavior"] == "MergedWithPrevious"
            && part["invert"] == false
        {
            self.splits_at_spaces = true;
            return Some(());
        }
        let pattern = part["pattern"]["Regex"].as_str()?;
        match (part["behavior"].as_str()?, part["invert"].as_bool()?) {
            ("Isolated", _) => {}
            // Keeps the matches only, which is all there is.
            ("Removed", true) if Splitter::covers(pattern) => {}
            _ => return None,
        }
        self.patterns.push(pattern.to_owned());
        Some(())
    }
}

/// The parts of a sequence, or the one part.
fn parts<'v>(value: &'v Value, name: &str) -> Vec<&'v Value> {
    if value.is_null() {
        return Vec::new();
    }
    if value["type"] != "Sequence" {
        return vec![value];
    }
    value[name].as_array().into_iter().flatten().flat_map(|part| parts(part, name)).collect()
}
