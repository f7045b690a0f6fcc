//! One broken step per rule about states; the executors' tests have those about tokens, spans and pages.

use sm_tensor::{DType, PageId};

use super::*;
use crate::plan::{OutputRow, StateLayout};
use crate::testing;

fn plan_with_states() -> Plan {
    let mut plan = testing::decoder(DType::F32);
    plan.cache.states.push(StateLayout { name: "conv".to_owned(), len: 4 });
    plan
}

fn limits() -> Limits {
    Limits { max_tokens: 64, max_sequences: 4, n_pages: 8, ..Limits::one_sequence(64) }
}

/// Three spans: one from its start, one that goes on from slot 1 to slot 2 and keeps two states on the way, and one that
/// stays in slot 5.
#[derive(Clone)]
struct Parts {
    spans: Vec<Span>,
    kept: Vec<KeptState>,
}

fn slot(slot: u32) -> StateSlot {
    StateSlot(slot)
}

fn good() -> Parts {
    let span = |first_row, n_rows, start, page, state| Span {
        first_row,
        n_rows,
        start,
        first_page: page,
        n_pages: 2,
        state: Some(state),
        ..Span::default()
    };
    let spans = vec![
        span(0, 3, 0, 0, StateSpan { read: None, write: slot(0), first_kept: 0, n_kept: 0 }),
        span(3, 20, 5, 2, StateSpan { read: Some(slot(1)), write: slot(2), first_kept: 0, n_kept: 2 }),
        span(23, 1, 9, 4, StateSpan { read: Some(slot(5)), write: slot(5), first_kept: 2, n_kept: 0 }),
    ];
    let kept = vec![KeptState { position: 16, slot: slot(3) }, KeptState { position: 25, slot: slot(4) }];
    Parts { spans, kept }
}

fn check(rules: &mut StepRules, parts: &Parts) -> Result<(), ExecError> {
    rules.check(&StepBatch {
        tokens: &[TokenId(1); 24],
        spans: &parts.spans,
        page_table: &[0, 1, 2, 3, 4, 5].map(PageId),
        kept_states: &parts.kept,
        outputs: &[OutputRow::logits(23)],
        input: None,
    })
}

fn state(parts: &mut Parts, span: usize) -> &mut StateSpan {
    parts.spans[span].state.as_mut().unwrap()
}

#[test]
fn states_are_read_and_written_by_one_span_each() {
    let mut rules = StepRules::new(&plan_with_states(), limits());
    type Change = fn(&mut Parts);
    let cases: &[(&str, Change)] = &[
        ("span 1 names no state, but the plan has some", |p| p.spans[1].state = None),
        ("span 1 starts at position 5 but reads no state", |p| state(p, 1).read = None),
        ("span 0 starts at position 0 but reads state slot 1", |p| state(p, 0).read = Some(slot(1))),
        ("span 1 names state slot 12, but the pool has 12", |p| state(p, 1).read = Some(slot(12))),
        ("span 0 names state slot 12, but the pool has 12", |p| state(p, 0).write = slot(12)),
        ("span 1 names state slot 13, but the pool has 12", |p| p.kept[1].slot = slot(13)),
        ("span 1 writes state slot 0, which the step writes elsewhere", |p| state(p, 1).write = slot(0)),
        ("span 1 writes state slot 2, which the step writes elsewhere", |p| p.kept[0].slot = slot(2)),
        ("span 1 writes state slot 0, which the step writes elsewhere", |p| p.kept[0].slot = slot(0)),
        ("span 0 writes state slot 1, which the step reads elsewhere", |p| state(p, 0).write = slot(1)),
        ("span 1 writes state slot 5, which the step reads elsewhere", |p| p.kept[0].slot = slot(5)),
        ("span 1 writes state slot 5, which the step reads elsewhere", |p| {
            state(p, 1).read = Some(slot(5));
            state(p, 1).write = slot(5);
        }),
        ("span 1 keeps states from 1, after 0 kept states", |p| state(p, 1).first_kept = 1),
        ("the spans keep 1 states, but 2 are listed", |p| {
            state(p, 1).n_kept = 1;
            state(p, 2).first_kept = 1;
        }),
        ("the state after 5 tokens, which must be above 5 and at most 25", |p| p.kept[0].position = 5),
        ("the state after 26 tokens, which must be above 16 and at most 25", |p| p.kept[1].position = 26),
        ("the state after 16 tokens, which must be above 16 and at most 25", |p| p.kept[1].position = 16),
    ];
    check(&mut rules, &good()).unwrap();
    for (expected, change) in cases {
        let mut parts = good();
        change(&mut parts);
        let error = check(&mut rules, &parts).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected:?}: {error:?}");
        check(&mut rules, &good()).unwrap();
    }
}

#[test]
fn forks_read_one_snapshot_that_nobody_writes() {
    let mut rules = StepRules::new(&plan_with_states(), limits());
    let mut forks = good();
    state(&mut forks, 2).read = Some(slot(1));
    check(&mut rules, &forks).unwrap();
    // What a span read may take a state that it keeps.
    let mut overwritten = good();
    overwritten.kept[0].slot = slot(1);
    check(&mut rules, &overwritten).unwrap();
}

#[test]
fn plans_without_states_know_no_slots() {
    let plan = testing::decoder(DType::F32);
    let mut rules = StepRules::new(&plan, limits());
    let mut parts = good();
    let error = check(&mut rules, &parts).unwrap_err().to_string();
    assert!(error.contains("span 0 names a state, but the plan has none"), "{error}");
    parts.spans.iter_mut().for_each(|span| span.state = None);
    let error = check(&mut rules, &parts).unwrap_err().to_string();
    assert!(error.contains("the spans keep 0 states, but 2 are listed"), "{error}");
    parts.kept.clear();
    check(&mut rules, &parts).unwrap();
}
