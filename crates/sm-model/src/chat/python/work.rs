//! Accounts for what the engine only counts when it is there: the results of Python methods, and lists that are printed, which may be
//! lazy.

use minijinja::value::ValueKind;
use minijinja::{Error, Output, State, Value, escape_formatter};

/// Bytes that count as much as an instruction, as in the engine.
pub(super) const BYTES_PER_FUEL: usize = 64;

/// Pays for the result of a method of a string, if it may be much longer than the string.
///
/// # Errors
/// If there is not enough fuel left.
pub(super) fn pay(state: &State<'_, '_>, text: &str, name: &str, args: &[Value]) -> Result<(), Error> {
    match name {
        "format" => {
            let n_places = text.matches('{').count().max(1);
            for arg in args {
                visit(state, arg, n_places)?;
            }
            pay_bytes(state, widths(text, args))
        }
        // The engine pays for the separators.
        "join" => args.iter().try_for_each(|list| visit(state, list, 1)),
        _ => Ok(()),
    }
}

/// Prints a value once it is paid for.
///
/// # Errors
/// If there is not enough fuel left.
pub(super) fn print(output: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if value.as_object().is_some() {
        visit(state, value, 1)?;
    }
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
