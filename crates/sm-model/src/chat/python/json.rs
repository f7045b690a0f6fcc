//! The filter `tojson` as transformers defines it: Python's `json.dumps` with `ensure_ascii=False`.

use std::fmt::Write;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use super::work::BYTES_PER_FUEL;
use crate::tokenizer::is_mark;

/// The deepest nesting written. Only a template that builds deeper values on purpose gets there.
const MAX_DEPTH: usize = 100;

/// The longest indentation or separator, in bytes.
const MAX_SPACING: usize = 64;

/// `value | tojson(indent=…, ensure_ascii=…, separators=…, sort_keys=…)`
#[expect(clippy::needless_pass_by_value, reason = "the engine passes keyword arguments by value")]
pub(super) fn tojson(state: &State<'_, '_>, value: &Value, kwargs: Kwargs) -> Result<Value, Error> {
    let indent = match kwargs.get::<Option<Value>>("indent")? {
        Some(indent) if !indent.is_none() => Some(match indent.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(indent.as_usize().unwrap_or(0).min(MAX_SPACING)),
        }),
        _ => None,
    };
    let (item_separator, key_separator) = match kwargs.get::<Option<Vec<String>>>("separators")?.as_deref() {
        Some([item, key]) => (item.clone(), key.clone()),
        Some(_) => return Err(Error::new(ErrorKind::InvalidOperation, "tojson: separators must be a pair")),
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
    };
    // They are written for each item, the indentation once for each level.
    let spacing = [indent.as_deref().unwrap_or_default(), &item_separator, &key_separator];
    if spacing.iter().any(|text| text.len() > MAX_SPACING) {
        let message = format!("tojson: an indentation or a separator is longer than {MAX_SPACING} bytes");
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    let mut writer = Writer {
        state,
        n_charged: 0,
        out: String::new(),
        indent,
        item_separator,
        key_separator,
        ascii: kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sorted: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    kwargs.assert_all_used()?;
    writer.value(value, 0)?;
    Ok(Value::from(writer.out))
}

struct Writer<'s, 'e, 'v> {
    state: &'s State<'e, 'v>,
    n_charged: usize, // bytes of `out`
    out: String,
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    ascii: bool,
    sorted: bool,
}

impl Writer<'_, '_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let n_new = self.out.len() - self.n_charged;
        self.state.consume_fuel((1 + n_new / BYTES_PER_FUEL) as u64)?;
        self.n_charged = self.out.len();
        if depth > MAX_DEPTH {
            return Err(Error::new(
                ErrorKind::BadSerialization,
                format!("tojson: nested deeper than {MAX_DEPTH} levels"),
            ));
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&number(value)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter()?.collect::<Vec<_>>();
                self.container(['[', ']'], items.len(), depth, |writer, idx| {
                    writer.value(&items[idx], depth + 1)
                })?;
            }
            ValueKind::Map => {
                let mut keys = value.try_iter()?.collect::<Vec<_>>();
                if self.sorted {
                    keys.sort();
                }
                self.container(['{', '}'], keys.len(), depth, |writer, idx| {
                    writer.key(&keys[idx])?;
                    let item = value.get_item(&keys[idx])?;
                    writer.value(&item, depth + 1)
                })?;
            }
            other => {
                return Err(Error::new(ErrorKind::BadSerialization, format!("tojson: {other} is not JSON")));
            }
        }
        Ok(())
    }

    fn container(
        &mut self,
        brackets: [char; 2],
        len: usize,
        depth: usize,
        mut item: impl FnMut(&mut Self, usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(brackets[0]);
        for idx in 0..len {
            if idx > 0 {
                self.out.push_str(&self.item_separator);
            }
            self.line_break(depth + 1);
            item(self, idx)?;
        }
        if len > 0 {
            self.line_break(depth);
        }
        self.out.push(brackets[1]);
        Ok(())
    }

    fn line_break(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            for _ in 0..depth {
                self.out.push_str(indent);
            }
        }
    }

    fn key(&mut self, key: &Value) -> Result<(), Error> {
        match key.kind() {
            ValueKind::String => self.string(key.as_str().unwrap_or_default()),
            ValueKind::None => self.string("null"),
            ValueKind::Bool => self.string(if key.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.string(&number(key)),
            other => {
                return Err(Error::new(
                    ErrorKind::BadSerialization,
                    format!("tojson: a key cannot be a {other}"),
                ));
            }
        }
        self.out.push_str(&self.key_separator);
        Ok(())
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for character in text.chars() {
            match character {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                ' '..='~' => self.out.push(character),
                '\0'..='\u{1f}' => self.escape(character),
                // A mark is not part of the text.
                _ if self.ascii && !is_mark(character) => self.escape(character),
                _ => self.out.push(character),
            }
        }
        self.out.push('"');
    }

    fn escape(&mut self, character: char) {
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = write!(self.out, "\\u{unit:04x}");
        }
    }
}

/// A number as Python's `repr` writes it: the shortest digits that read back, an exponent with sign and at least two digits.
fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    let Ok(float) = f64::try_from(value.clone()) else { return value.to_string() };
    if !float.is_finite() {
        let text = if float.is_nan() {
            "NaN"
        } else if float > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        };
        return text.to_owned();
    }
    let digits = format!("{float:?}");
    match digits.split_once('e') {
        Some((mantissa, exponent)) => {
            let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
            format!("{mantissa}e{sign}{exponent:0>2}")
        }
        None => digits,
    }
}
