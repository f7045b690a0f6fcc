//! Bounds the values in namespaces, the only ones that can grow across loop iterations.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, State, Value};

/// Maximum nesting of a kept value. The engine drops and prints values recursively.
const MAX_DEPTH: usize = 64;

/// Maximum length of a kept string, in bytes.
const MAX_STRING_BYTES: usize = 16 << 20;

/// Maximum parts of kept values visited per render.
const MAX_VISITS: usize = 1_000_000;

/// Returns `value`, unless it is deeper or longer than any real template needs, or contains a namespace.
pub(super) fn bounded(state: &mut State<'_, '_>, value: Value) -> Result<Value, Error> {
    let mut n_visits = state.get_temp("n_visits").and_then(|visits| visits.as_usize()).unwrap_or(0);
    let mut open = vec![(value.clone(), 0)];
    while let Some((part, depth)) = open.pop() {
        // Count before visiting, so that a list that doubles in each iteration is stopped early.
        n_visits += 1 + part.as_object().and_then(|object| object.enumerator_len()).unwrap_or(0);
        let namespace = part.as_object().is_some_and(|object| object.type_name().ends_with("Namespace"));
        let long = part.as_str().is_some_and(|text| text.len() > MAX_STRING_BYTES);
        if namespace || long || depth > MAX_DEPTH || n_visits > MAX_VISITS {
            let message = "a namespace cannot hold a namespace, a value nested deeper than 64 levels, or a string of more than 16 MiB";
            return Err(Error::new(ErrorKind::InvalidOperation, message));
        }
        match part.kind() {
            ValueKind::Seq => open.extend(part.try_iter()?.map(|item| (item, depth + 1))),
            ValueKind::Map => {
                for key in part.try_iter()? {
                    open.push((part.get_item(&key)?, depth + 1));
                }
            }
            _ => {}
        }
    }
    state.set_temp("n_visits", Value::from(n_visits));
    Ok(value)
}
