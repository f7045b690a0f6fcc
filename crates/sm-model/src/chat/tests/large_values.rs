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
