//! The hand-over of a request, in every order in which its two sides can act.
//!
//! Each operation of a ticket is one critical section, so every run of two threads is one of the orders tried here.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use super::*;
use crate::{Timings, Usage};

/// Counts how often a task was woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

const ROOM: TicketRoom = TicketRoom { n_choices: 2, max_new_tokens: 4, n_top: 2 };

/// What the engine's thread does, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    Run,
    Push(usize),
    Give,
    Drop,
}

const EVENTS: [(usize, &str); 4] = [(0, "on"), (1, "au"), (0, "ce"), (1, "f")];

/// The thread that answers after `n_events` events, or is gone then.
fn writes(n_events: usize, end: Write) -> Vec<Write> {
    let events = (0..n_events).map(Write::Push);
    std::iter::once(Write::Run).chain(events).chain([end]).collect()
}

fn event(index: usize) -> TokenEvent {
    let (choice, text) = EVENTS[index];
    TokenEvent {
        choice,
        text: text.to_owned(),
        index: index / 2,
        token: Some(TokenId(index as u32)),
        // Some events have alternatives and some have none.
        top_logprobs: (0..index).map(|rank| (TokenId(rank as u32), -(rank as f32))).collect(),
        ..TokenEvent::default()
    }
}

fn completion(text: &str) -> Completion {
    Completion {
        choice: 0,
        text: text.to_owned(),
        tokens: Vec::new(),
        prompt_tokens: Vec::new(),
        finish_reason: FinishReason::Length,
        stop_sequence: None,
        seed: 0,
        usage: Usage::default(),
        timings: Timings::default(),
        logprobs: Vec::new(),
        end: None,
        prompt_logprobs: Vec::new(),
        embedding: Vec::new(),
    }
}

/// All ways to put `n_reads` reads between `n_writes` writes: `true` is a read.
fn orders(n_writes: usize, n_reads: usize) -> Vec<Vec<bool>> {
    match (n_writes, n_reads) {
        (0, _) => vec![vec![true; n_reads]],
        (_, 0) => vec![vec![false; n_writes]],
        _ => {
            let begin = |first: bool, rest: Vec<Vec<bool>>| {
                rest.into_iter().map(move |order| [vec![first], order].concat())
            };
            let reads = begin(true, orders(n_writes, n_reads - 1));
            reads.chain(begin(false, orders(n_writes - 1, n_reads))).collect()
        }
    }
}

/// The two sides of a ticket, and what the reader has seen.
struct Sides {
    ticket: Arc<Ticket>,
    answer: Option<Responder>,
    wakes: Arc<Wakes>,
    /// Whether the reader waits, and how often it had been woken when it began to.
    waits_since: Option<usize>,
}

impl Sides {
    fn new() -> Self {
        let ticket = Arc::new(Ticket::new(ROOM, CancelToken::new()));
        let answer = Some(Responder::new(Arc::clone(&ticket), Arc::default()));
        Self { ticket, answer, wakes: Arc::new(Wakes::default()), waits_since: None }
    }

    fn write(&mut self, write: Write) {
        match write {
            Write::Run => self.answer.as_ref().unwrap().ticket().run(),
            Write::Push(index) => self.answer.as_ref().unwrap().ticket().push(&event(index)),
            Write::Give => self.answer.take().unwrap().give(Ok(vec![completion("once"), completion("auf")])),
            Write::Drop => drop(self.answer.take()),
        }
        if let Some(before) = self.waits_since {
            let n_wakes = self.wakes.0.load(Ordering::SeqCst) - before;
            let expected = usize::from(write != Write::Run);
            assert_eq!(n_wakes, expected, "a reader that waits is woken once by {write:?}");
            if n_wakes > 0 {
                self.waits_since = None;
            }
        }
    }

    fn poll<T>(&mut self, poll: impl FnOnce(&Ticket, &Context<'_>) -> Poll<T>) -> Option<T> {
        let waker = Waker::from(Arc::clone(&self.wakes));
        match poll(&self.ticket, &Context::from_waker(&waker)) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => {
                self.waits_since = Some(self.wakes.0.load(Ordering::SeqCst));
                None
            }
        }
    }
}

#[test]
fn a_stream_sees_every_event_once_in_order_whoever_acts_first() {
    for (n_events, end) in (0..=EVENTS.len()).flat_map(|n| [(n, Write::Give), (n, Write::Drop)]) {
        let writes = writes(n_events, end);
        for order in orders(writes.len(), 5) {
            let (mut sides, mut cursor, mut seen) = (Sides::new(), Cursor::default(), Vec::new());
            let mut next = writes.iter();
            let mut read = |sides: &mut Sides| {
                if let Some(Some(event)) =
                    sides.poll(|ticket, context| ticket.poll_event(&mut cursor, context))
                {
                    seen.push(event);
                    return true;
                }
                false
            };
            for is_read in &order {
                if *is_read {
                    read(&mut sides);
                } else {
                    sides.write(*next.next().unwrap());
                }
            }
            while read(&mut sides) {}
            assert_eq!(sides.waits_since, None, "nothing is left to wait for");
            let error = if end == Write::Drop { seen.pop() } else { None };
            let told: Vec<TokenEvent> = seen.into_iter().map(Result::unwrap).collect();
            assert_eq!(told, (0..n_events).map(event).collect::<Vec<_>>(), "{order:?}");
            match end {
                Write::Drop => assert!(matches!(error, Some(Err(Error::ShutDown))), "{order:?}: {error:?}"),
                _ => assert_eq!(sides.ticket.status(), RequestStatus::Completed),
            }
        }
    }
}

#[test]
fn a_reader_is_woken_for_the_first_token_the_last_and_as_many_others_as_it_asks_for() {
    let (mut sides, mut cursor) = (Sides::new(), Cursor::default());
    sides.ticket.wake_every(3);
    let mut read = |sides: &mut Sides| {
        let n_read = cursor.n_events;
        while sides.poll(|ticket, context| ticket.poll_event(&mut cursor, context)).is_some() {}
        cursor.n_events - n_read
    };
    read(&mut sides);
    let mut arrivals = Vec::new();
    for index in 0..9 {
        let finish_reason = (index == 8).then_some(FinishReason::Length);
        let event = TokenEvent { index, finish_reason, ..event(0) };
        sides.answer.as_ref().unwrap().ticket().push(&event);
        if sides.wakes.0.load(Ordering::SeqCst) > arrivals.len() {
            arrivals.push(read(&mut sides));
        }
    }
    assert_eq!(arrivals, [1, 3, 3, 2]);
}

#[test]
fn an_outcome_is_given_once_whoever_acts_first() {
    for (n_events, end) in [(0, Write::Give), (3, Write::Give), (0, Write::Drop), (3, Write::Drop)] {
        let writes = writes(n_events, end);
        for order in orders(writes.len(), 4) {
            let (mut sides, mut outcomes) = (Sides::new(), Vec::new());
            let mut next = writes.iter();
            for is_read in order.iter().chain(&[true]) {
                if !is_read {
                    sides.write(*next.next().unwrap());
                } else if outcomes.is_empty() {
                    // A future is not polled again after it was ready.
                    outcomes.extend(sides.poll(Ticket::poll_outcome));
                }
            }
            match (&outcomes[..], end) {
                ([Ok(completions)], Write::Give) => assert_eq!(completions[0].text, "once"),
                ([Err(Error::ShutDown)], Write::Drop) => {}
                other => panic!("{order:?}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_blocked_reader_is_woken_by_another_thread() {
    for _ in 0..200 {
        let mut sides = Sides::new();
        let ticket = Arc::clone(&sides.ticket);
        let engine = std::thread::current().id();
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let (mut cursor, mut text) = (Cursor::default(), String::new());
                while let Some(event) = ticket.wait_event(&mut cursor, engine) {
                    text.push_str(&event.unwrap().text);
                }
                (text, ticket.wait_outcome(engine).unwrap().len())
            });
            writes(EVENTS.len(), Write::Give).into_iter().for_each(|write| sides.write(write));
            assert_eq!(reader.join().unwrap(), ("onaucef".to_owned(), 2));
        });
    }
}
