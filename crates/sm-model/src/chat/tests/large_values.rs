//! Values that are larger than their memory.

use super::render;
use crate::chat::{ChatError, FUEL};

/// Templates that walk through the lists.
const USES: [&str; 38] = [
    "{{ x ~ '' }}",
    "{{ '' ~ [x] }}",
    "{{ {'a': x} ~ 'b' }}",
    "{{ x == y }}",
    "{{ 0 < x < y }}",
    "{{ x in [y, y] }}",
    "{{ x not in [y] }}",
    "{{ x is eq(y) }}",
    "{{ x is in [y] }}",
    "{{ x in 'abc' }}",
    "{{ [y]|select('eq', x)|list }}",
    "{{ [{'a': x}]|selectattr('a', '==', y)|list }}",
    "{{ x|string }}",
    "{{ [x]|join }}",
    "{{ [x, y]|sort }}",
    "{{ [x, y]|unique|list }}",
    "{{ [x, y]|max }}",
    "{{ [x]|map('upper')|list }}",
    "{{ [{'a': x}, {'a': y}]|sort(attribute='a') }}",
    "{{ [{'a': x}]|groupby('a') }}",
    "{{ {'a': x}|dictsort(by='value') }}",
    "{{ 'a'|replace('a', x) }}",
    "{{ '%s'|format(x) }}",
    "{{ x|pprint }}",
    "{{ x|tojson }}",
    "{{ x|upper }}",
    "{{ x|trim }}",
    "{{ '{}'.format(x) }}",
    "{{ ''.join([x]) }}",
    "{{ [y].count(x) }}",
    "{{ 'a'.startswith(x) }}",
    "{{ {'a': 1}.get(x) }}",
    "{{ {'a': 1}[x] }}",
    "{{ {x: 1} }}",
    "{{ raise_exception(x) }}",
    "{% set ns = namespace(a=0) %}{% set ns.a = x %}{{ ns }}",
    "{% if x != y %}{% endif %}",
    "{% set z = x ~ y %}",
];

/// A list of 10^12 numbers, which takes no more memory than its 16 bytes of source, in all that walks through values.
#[test]
fn values_that_are_larger_than_their_memory_are_walked_only_as_far_as_is_paid_for() {
    let lists = "{% set x = [[[0] * 10000] * 10000] * 10000 %}{% set y = [[[0] * 10000] * 10000] * 10000 %}";
    for template in USES {
        match render(&format!("{lists}{template}")) {
            Err(ChatError::TooMuchWork { limit: FUEL, .. }) => {}
            Err(ChatError::Render { reason, .. }) if reason.contains("a namespace cannot hold") => {}
            other => panic!("{template}: {:?}", other.map(|text| text.len())),
        }
    }
    for template in [
        "debug()",
        "x|list",
        "x|sum",
        "x|items|list",
        "x|zip(y)|list",
        "x|chain(y)|list",
        "x|batch(2)|list",
        "x[::-1]",
    ] {
        assert!(render(&format!("{lists}{{{{ {template} }}}}")).is_err(), "{template}");
    }
    for (template, expected) in [
        ("x|first|length", "10000"),
        ("x[-1]|last|length", "10000"),
        ("x is sameas x", "True"),
        ("x|bool", "True"),
    ] {
        assert_eq!(render(&format!("{lists}{{{{ {template} }}}}")).unwrap(), expected, "{template}");
    }
}

/// Sums and products of lists are lazy in the engine. Here they are made, and paid for.
#[test]
fn lists_without_lists_in_them_are_no_larger_than_what_is_paid_for() {
    let doubled = format!("{{% set x = [0] * 10000 %}}{}", "{% set x = x + x %}".repeat(30));
    for template in
        [&doubled, "{{ [0] * 90000000 }}", "{{ ([0] * 90000000)[-1] }}", "{{ ((0,) * 90000000)|length }}"]
    {
        let result = render(template);
        assert!(matches!(result, Err(ChatError::TooMuchWork { limit: FUEL, .. })), "{template}");
    }
    for (template, expected) in [
        ("([1] + [2] * 2)[1:]", "[2, 2]"),
        ("('a', 'b', 'c')[1:]", "('b', 'c')"),
        ("[1, 2, 3, 4][::-1][1:]", "[3, 2, 1]"),
        ("'abcd'[::-1][1:].upper()", "CBA"),
        ("1 + 2 * 3 - 4 * 0.5", "5.0"),
        ("'a' + 'b' * 2", "abb"),
        ("[{'a': 1, 'b': 2}, {'a': 1, 'b': 3}]|groupby('a')", "[[1, [{'a': 1, 'b': 2}, {'a': 1, 'b': 3}]]]"),
        ("([{'a': 1}]|groupby('a'))[0].list[0]", "{'a': 1}"),
        ("[1]|chain((2, 3), 'ab')", "[1, 2, 3, 'a', 'b']"),
        ("{'a': 1, 'b': 2}|chain({'b': 3, 'c': 4})", "{'a': 1, 'b': 3, 'c': 4}"),
        ("range(2, 9, 3)|reverse|list", "[8, 5, 2]"),
    ] {
        assert_eq!(render(&format!("{{{{ {template} }}}}")).unwrap(), expected, "{template}");
    }
}

/// Looking up an item at the end of a lazy list would go through the list, two billion steps for each of these.
#[test]
fn looking_up_an_item_takes_one_step() {
    for list in
        ["x[1:]", "x + x", "x * 2", "x|reverse", "range(99999)", "x|zip(x)|list", "x|chain([])", "d.values()"]
    {
        let lists = format!("{{% set x = [0] * 100000 %}}{{% set d = dict(a=1) %}}{{% set y = {list} %}}");
        for lookup in ["y[-1]", "y|last", "[y]|map(attribute=-1)|first", "[y]|selectattr(-1)|list"] {
            let template =
                format!("{lists}{{% for i in range(20000) %}}{{% set z = {lookup} %}}{{% endfor %}}");
            let result = render(&template);
            assert!(
                matches!(result, Ok(_) | Err(ChatError::TooMuchWork { .. })),
                "{list}, {lookup}: {result:?}"
            );
        }
    }
}
