//! Lists in place of the engine's lazy ones. Each use of a lazy list goes through it again, and the engine does not count all of that:
//! looking up its last item, by an index or in `map(attribute=-1)`, visits every one.

use std::sync::Arc;

use minijinja::value::{Enumerator, Kwargs, Object, ObjectRepr, Rest, ValueKind};
use minijinja::{Environment, Error, State, Value, filters, functions};

use super::{COPIED, work};

/// Adds the filter [`COPIED`], and copies what filters and functions give.
pub(super) fn install(environment: &mut Environment<'static>) {
    environment.add_filter(COPIED, copied);
    environment.add_filter("chain", chain);
    environment.add_filter("groupby", groupby);
    environment
        .add_filter("items", |state: &State<'_, '_>, value: &Value| copied(state, filters::items(value)?));
    environment.add_filter("reverse", |state: &State<'_, '_>, value: &Value| {
        work::pay_items(state, value)?;
        copied(state, filters::reverse(value)?)
    });
    environment.add_filter("zip", |state: &State<'_, '_>, value: Value, others: Rest<Value>| {
        copied(state, filters::zip(state, value, others)?)
    });
    environment.add_function(
        "range",
        |state: &State<'_, '_>, first: isize, end: Option<isize>, step: Option<isize>| {
            copied(state, functions::range(first, end, step)?)
        },
    );
}

/// The value, or the items of a lazy list.
///
/// # Errors
/// If there is not enough fuel left.
pub(super) fn copied(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    if value.kind() != ValueKind::Iterable {
        return Ok(value);
    }
    work::pay_items(state, &value)?;
    filters::list(state, value)
}

/// The items of lists, or a dict of the pairs of dicts, of which later ones win.
fn chain(state: &State<'_, '_>, first: Value, others: Rest<Value>) -> Result<Value, Error> {
    let all: Vec<_> = std::iter::once(first).chain(others.0).collect();
    if all.iter().all(|value| value.kind() == ValueKind::Map) {
        let mut pairs = Vec::new();
        for dict in all {
            for key in dict.try_iter()? {
                state.consume_fuel(1)?;
                pairs.push((key.clone(), dict.get_item(&key)?));
            }
        }
        return Ok(Value::from_pairs(pairs));
    }
    let mut items = Vec::new();
    for list in all {
        for item in list.try_iter()? {
            state.consume_fuel(1)?;
            items.push(item);
        }
    }
    Ok(Value::from(items))
}

/// A group of the filter `groupby`: a pair with names.
#[derive(Debug)]
struct Group {
    grouper: Value,
    list: Value,
}

impl Object for Group {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match (key.as_usize(), key.as_str()) {
            (Some(0), _) | (_, Some("grouper")) => Some(self.grouper.clone()),
            (Some(1), _) | (_, Some("list")) => Some(self.list.clone()),
            _ => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(2)
    }
}

fn groupby(
    state: &State<'_, '_>,
    value: Value,
    attribute: Option<&str>,
    options: Kwargs,
) -> Result<Value, Error> {
    let groups = filters::groupby(value, attribute, options)?;
    let group = |group: Value| {
        let list = copied(state, group.get_attr("list")?)?;
        Ok(Value::from_object(Group { grouper: group.get_attr("grouper")?, list }))
    };
    groups.try_iter()?.map(group).collect::<Result<Vec<_>, Error>>().map(Value::from)
}
