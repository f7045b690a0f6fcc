//! Sends requests on schedule and receives their tokens, many streams on one thread.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use sm_runtime::{
    Completion, Engine, EosRule, Error, GenerationOptions, Prompt, Request, StopRules, TokenStream,
};

use super::scale::Scaled;

/// After this long without an event on any stream, open requests count as lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// The outcome of a request.
#[derive(Debug, Default)]
pub struct Outcome {
    /// When it was sent, relative to the start: when due, or as soon as this thread could.
    pub sent: Duration,
    /// Arrival time of each token, relative to the start.
    pub tokens_at: Vec<Duration>,
    /// How it ended; `None` if it was lost.
    pub ended: Option<Result<Completion, Error>>,
}

impl Outcome {
    /// The completion, if there is one.
    pub fn completion(&self) -> Option<&Completion> {
        self.ended.as_ref()?.as_ref().ok()
    }

    /// Time until its first step.
    pub fn queued(&self) -> Option<Duration> {
        let timings = self.completion()?.timings;
        Some(timings.first_token.saturating_sub(timings.prefill))
    }
}

/// Options for the request at `index`: full length, ignoring end-of-sequence tokens.
pub fn options(scaled: &Scaled, index: usize) -> GenerationOptions {
    GenerationOptions::new()
        .seed(index as u64)
        .max_new_tokens(scaled.n_output)
        .stop(StopRules::new().eos(EosRule::Ignore))
}

/// Streams with pending events.
#[derive(Debug)]
struct Board {
    woken: Mutex<Vec<usize>>,
    driver: Thread,
}

#[derive(Debug)]
struct Bell {
    index: usize,
    board: Arc<Board>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.board.woken.lock().unwrap_or_else(PoisonError::into_inner).push(self.index);
        self.board.driver.unpark();
    }
}

/// Sends `requests` in order of time and returns the outcome of each.
pub fn drive(engine: &Engine, requests: &[Scaled]) -> Vec<Outcome> {
    let board = Arc::new(Board { woken: Mutex::default(), driver: std::thread::current() });
    let mut driver = Driver {
        engine,
        requests,
        start: Instant::now(),
        last_news: Instant::now(),
        streams: Vec::new(),
        outcomes: Vec::new(),
        n_live: 0,
        board,
    };
    let mut woken = Vec::new();
    while driver.outcomes.len() < requests.len() || driver.n_live > 0 {
        driver.send_due();
        std::mem::swap(&mut woken, &mut *driver.board.woken.lock().unwrap_or_else(PoisonError::into_inner));
        if woken.is_empty() {
            if driver.n_live > 0 && driver.last_news.elapsed() > PATIENCE {
                break;
            }
            std::thread::park_timeout(driver.until_due().min(PATIENCE));
        }
        woken.drain(..).for_each(|index| driver.listen(index));
    }
    driver.outcomes
}

struct Driver<'a> {
    engine: &'a Engine,
    requests: &'a [Scaled],
    start: Instant,
    last_news: Instant,
    /// Streams of the requests sent so far; `None` once they have ended.
    streams: Vec<Option<(TokenStream, Waker)>>,
    outcomes: Vec<Outcome>,
    n_live: usize,
    board: Arc<Board>,
}

impl Driver<'_> {
    fn until_due(&self) -> Duration {
        match self.requests.get(self.outcomes.len()) {
            Some(next) => next.at.saturating_sub(self.start.elapsed()),
            None => Duration::MAX,
        }
    }

    fn send_due(&mut self) {
        while let Some(scaled) = self.requests.get(self.outcomes.len())
            && scaled.at <= self.start.elapsed()
        {
            let index = self.outcomes.len();
            let prompt = Prompt::Tokens(scaled.prompt.clone());
            let request = Request::new(prompt, options(scaled, index)).client(scaled.key);
            let mut outcome = Outcome { sent: self.start.elapsed(), ..Outcome::default() };
            match self.engine.stream(request) {
                Ok(stream) => {
                    let waker = Waker::from(Arc::new(Bell { index, board: Arc::clone(&self.board) }));
                    self.streams.push(Some((stream, waker)));
                    self.n_live += 1;
                }
                Err(error) => {
                    outcome.ended = Some(Err(error));
                    self.streams.push(None);
                }
            }
            self.outcomes.push(outcome);
            self.listen(index);
        }
    }

    /// Drains a stream until it would block.
    fn listen(&mut self, index: usize) {
        let Some((stream, waker)) = &mut self.streams[index] else {
            return;
        };
        let mut context = Context::from_waker(waker);
        let outcome = &mut self.outcomes[index];
        let failure = loop {
            match stream.poll_next(&mut context) {
                Poll::Pending => return,
                Poll::Ready(Some(Ok(event))) => {
                    self.last_news = Instant::now();
                    outcome.tokens_at.extend(event.token.map(|_| self.start.elapsed()));
                }
                Poll::Ready(Some(Err(error))) => break Some(error),
                Poll::Ready(None) => break None,
            }
        };
        if let Some((stream, _)) = self.streams[index].take() {
            self.n_live -= 1;
            let finished = stream.finish().map(|mut completions| completions.swap_remove(0));
            outcome.ended = Some(failure.map_or(finished, Err));
        }
    }
}
