//! The Python functions, filters and methods that templates expect, as transformers provides them.
//!
//! See `_compile_jinja_template` in `chat_template_utils.py` of transformers.

use std::fmt;
use std::sync::Arc;

use minijinja::value::from_args;
use minijinja::{Environment, Error, ErrorKind, State, Template, Value, filters, tests};
use minijinja_contrib::pycompat;
use serde_json::{Map, Value as Json};

use super::strftime::strftime;
use super::{ChatRequest, Message};

mod bounded;
mod json;
mod lists;
mod work;

/// The filter applied to values assigned to namespaces.
pub(super) const BOUNDED: &str = "__bounded";

/// The name of the filter around values that loops iterate.
pub(super) const ITERABLE: &str = "__iterable";

/// The name of the filter around lists that are sliced: the engine goes through the items before the slice uncounted.
pub(super) const SLICED: &str = "__sliced";

/// The name of the filter around sums, products and slices of lists, which are lazy.
pub(super) const COPIED: &str = "__copied";

/// The name of the filter around values that the engine walks through.
pub(super) const WALKED: &str = "__walked";

/// An exception that a template raised; the source of a render error.
#[derive(Debug)]
struct Raised(String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

/// Adds filters, functions and methods to the engine.
pub(super) fn install(environment: &mut Environment<'static>) {
    environment.add_filter("tojson", json::tojson);
    environment.add_filter(BOUNDED, bounded::bounded);
    environment.add_filter(ITERABLE, iterable);
    work::install(environment);
    lists::install(environment);
    environment.add_filter("list", list);
    environment.add_filter("first", |value: Value| or_undefined(value, filters::first));
    environment.add_filter("last", |value: Value| or_undefined(value, |value| filters::last(value.clone())));
    environment.add_test("iterable", |value: &Value| !value.is_none() && tests::is_iterable(value));
    for name in ["length", "count"] {
        environment.add_filter(name, length);
    }
    environment.add_function("raise_exception", raise_exception);
    environment.set_unknown_method_callback(method);
    environment.set_formatter(work::print);
}

/// The message of `raise_exception`, if it caused the failure.
pub(super) fn raised(error: &Error) -> Option<String> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(Raised(message)) = error.downcast_ref() {
            return Some(message.clone());
        }
        cause = error.source();
    }
    None
}

/// The date, by the names and in the forms that templates know from llama.cpp.
pub(super) fn date(unix_seconds: i64) -> Map<String, Json> {
    let variables = [("date_string", "%d %b %Y"), ("datetime", "%b %d %Y")];
    variables
        .map(|(name, format)| (name.to_owned(), strftime(format, unix_seconds).into()))
        .into_iter()
        .collect()
}

/// The templates that know tools as a text only.
pub(super) fn templates_of_functions(environment: &Environment<'_>) -> Arc<[String]> {
    let takes_functions = |(name, template): (&str, Template<'_, '_>)| {
        let variables = template.undeclared_variables(false);
        let takes = variables.contains("functions") && !variables.contains("tools");
        takes.then(|| name.to_owned())
    };
    environment.templates().filter_map(takes_functions).collect()
}

/// The functions as text, by the name that templates such as FireFunction's know.
pub(super) fn functions(tools: &[Json]) -> Map<String, Json> {
    let text = serde_json::to_string_pretty(tools).unwrap_or_default();
    Map::from_iter([("functions".to_owned(), text.into())])
}

/// The variables of a template. Later `defaults` take precedence over earlier ones, and those of the request over all.
pub(super) fn context(request: &ChatRequest<'_>, defaults: &[&Map<String, Json>]) -> Value {
    let messages: Value = request.messages.iter().map(Message::fields).map(dict).collect();
    let list = |values: &[Json]| {
        if values.is_empty() { Value::from(()) } else { values.iter().map(value).collect() }
    };
    let now = request.now_unix_seconds;
    let strftime_now = Value::from_function(move |format: &str| strftime(format, now));
    let variables = [
        ("messages", messages),
        ("tools", list(request.tools)),
        ("documents", list(request.documents)),
        ("add_generation_prompt", Value::from(request.add_generation_prompt)),
        ("strftime_now", strftime_now),
    ];
    let variables = variables.map(|(name, value)| (Value::from(name), value));
    let defaults = defaults.iter().flat_map(|fields| pairs(fields));
    Value::from_pairs(defaults.chain(variables).chain(pairs(&request.variables)))
}

fn pairs(fields: &Map<String, Json>) -> impl Iterator<Item = (Value, Value)> {
    fields.iter().map(|(name, field)| (Value::from(name.as_str()), value(field)))
}

fn dict(fields: &Map<String, Json>) -> Value {
    Value::from_pairs(pairs(fields))
}

fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(flag) => Value::from(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => Value::from(integer),
            (None, Some(integer)) => Value::from(integer),
            (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => items.iter().map(value).collect(),
        Json::Object(fields) => dict(fields),
    }
}

/// The value, unless it is None, which the engine would take for an empty list where Python fails.
fn iterable(value: Value) -> Result<Value, Error> {
    if value.is_none() {
        return Err(Error::new(ErrorKind::InvalidOperation, "'NoneType' object is not iterable"));
    }
    Ok(value)
}

fn list(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    filters::list(state, iterable(value)?)
}

/// What `of` gives for the value; of what is undefined, nothing is.
fn or_undefined(value: Value, of: impl FnOnce(&Value) -> Result<Value, Error>) -> Result<Value, Error> {
    if value.is_undefined() { Ok(value) } else { of(&iterable(value)?) }
}

/// Python's `len`; of what is undefined, 0.
fn length(value: &Value) -> Result<usize, Error> {
    if value.is_undefined() { Ok(0) } else { filters::length(value) }
}

fn raise_exception(state: &State<'_, '_>, message: &Value) -> Result<Value, Error> {
    work::walk(state, message)?;
    let cause = Raised(message.to_string());
    Err(Error::new(ErrorKind::InvalidOperation, "exception raised").with_source(cause))
}

/// Methods of Python's strings, lists and dicts.
fn method(state: &mut State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    match (value.as_str(), name) {
        (Some(text), "removeprefix") => {
            let (prefix,): (&str,) = from_args(args)?;
            Ok(Value::from(text.strip_prefix(prefix).unwrap_or(text)))
        }
        (Some(text), "removesuffix") => {
            let (suffix,): (&str,) = from_args(args)?;
            Ok(Value::from(text.strip_suffix(suffix).unwrap_or(text)))
        }
        (text, _) => {
            work::pay(state, text, name, args)?;
            work::pay_items(state, value)?;
            let result = pycompat::unknown_method_callback(state, value, name, args)?;
            lists::copied(state, result)
        }
    }
}
