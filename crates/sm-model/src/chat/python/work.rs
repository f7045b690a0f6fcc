//! Accounts for what the engine only counts when it is there: the results of Python methods, and lists that are printed, which may be
//! lazy.

use minijinja::value::ValueKind;
use minijinja::{Environment, Error, Output, State, Value, escape_formatter, tests};

use super::{SLICED, WALKED};

/// Bytes that count as much as an instruction, as in the engine.
pub(super) const BYTES_PER_FUEL: usize = 64;

/// Adds the filters [`WALKED`] and [`SLICED`], and pays for the tests that walk through values.
pub(super) fn install(environment: &mut Environment<'static>) {
    environment.add_filter(WALKED, |state: &State<'_, '_>, value: Value| walk(state, &value).map(|()| value));
    environment
        .add_filter(SLICED, |state: &State<'_, '_>, value: Value| pay_items(state, &value).map(|()| value));
    type Compare = fn(&Value, &Value) -> bool;
    let comparisons: [(&[&'static str], Compare); 6] = [
        (&["eq", "equalto", "=="], tests::is_eq),
        (&["ne", "!="], tests::is_ne),
        (&["lt", "lessthan", "<"], tests::is_lt),
        (&["le", "<="], tests::is_le),
        (&["gt", "greaterthan", ">"], tests::is_gt),
        (&["ge", ">="], tests::is_ge),
    ];
    for (names, compare) in comparisons {
        for &name in names {
            environment.add_test(name, move |state: &State<'_, '_>, left: &Value, right: &Value| {
                walk_both(state, left, right).map(|()| compare(left, right))
            });
        }
    }
    environment.add_test("in", |state: &State<'_, '_>, item: &Value, of: &Value| {
        walk_both(state, item, of)?;
        tests::is_in(state, item, of)
    });
    environment.remove_global("debug"); // prints all variables
}

/// Pays for walking through both values, unless one has no parts.
fn walk_both(state: &State<'_, '_>, left: &Value, right: &Value) -> Result<(), Error> {
    if left.as_object().is_some() {
        walk(state, left)?;
        walk(state, right)?;
    }
    Ok(())
}

/// Pays for what a method does with its arguments, and for its result, if it may be much longer than they are. `text` is the string
/// whose method it is.
///
/// # Errors
/// If there is not enough fuel left.
pub(super) fn pay(
    state: &State<'_, '_>,
    text: Option<&str>,
    name: &str,
    args: &[Value],
) -> Result<(), Error> {
    let Some(format) = text.filter(|_| name == "format") else {
        return args.iter().try_for_each(|arg| walk(state, arg));
    };
    let n_places = format.matches('{').count().max(1);
    for arg in args {
        visit(state, arg, n_places)?;
    }
    pay_bytes(state, widths(format, args))
}

/// Pays for walking through a value with parts.
///
/// # Errors
/// If there is not enough fuel left.
pub(super) fn walk(state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    if value.as_object().is_some() { visit(state, value, 1) } else { Ok(()) }
}

/// Pays for going through the items of a list, though not into them.
///
/// # Errors
/// If there is not enough fuel left.
pub(super) fn pay_items(state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    match value.as_object().map(|list| list.enumerator_len()) {
        Some(Some(n_items)) => pay_bytes(state, n_items.saturating_mul(size_of::<usize>())),
        // Some lists find out how long they are.
        Some(None) if value.kind() == ValueKind::Iterable => {
            value.try_iter()?.try_for_each(|_| state.consume_fuel(1))
        }
        _ => Ok(()),
    }
}

/// Prints a value once it is paid for.
///
/// # Errors
/// If there is not enough fuel left.
pub(super) fn print(output: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    walk(state, value)?;
    escape_formatter(output, state, value)
}

fn pay_bytes(state: &State<'_, '_>, n_bytes: usize) -> Result<(), Error> {
    state.consume_fuel((n_bytes / BYTES_PER_FUEL) as u64)
}

/// At most the sum of the widths in a format: any number in it may be one, and where fields are nested, as in `{:{}}`, any argument.
fn widths(format: &str, args: &[Value]) -> usize {
    let numbers = format.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let numbers = numbers.map(|digits| digits.parse().unwrap_or(usize::MAX));
    let is_nested = format.split('}').any(|part| part.matches('{').count() > 1);
    let given = args.iter().filter_map(Value::as_usize).filter(|_| is_nested);
    numbers.chain(given).fold(0, usize::saturating_add)
}

/// Pays for printing a value with all its parts, some times over.
fn visit(state: &State<'_, '_>, value: &Value, n_times: usize) -> Result<(), Error> {
    let mut open = vec![value.clone()];
    while let Some(part) = open.pop() {
        state.consume_fuel(1)?;
        pay_bytes(state, part.as_str().map_or(8, str::len).saturating_mul(n_times))?;
        let is_map = part.kind() == ValueKind::Map;
        if !is_map && !matches!(part.kind(), ValueKind::Seq | ValueKind::Iterable) {
            continue;
        }
        // A list may be lazy, so its items are paid for one by one.
        for item in part.try_iter()? {
            state.consume_fuel(1)?;
            if is_map {
                open.push(part.get_item(&item)?);
            }
            open.push(item);
        }
    }
    Ok(())
}
