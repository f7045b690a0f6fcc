//! The requests of a call that has several prompts, as one stream of events.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use sm_runtime::{Completion, ModelHandle, Request, TokenEvent};

use super::{Events, Generation, n_parallel};
use crate::app::App;
use crate::call::Metering;
use crate::error::ApiError;

type Starting = Pin<Box<dyn Future<Output = Result<(Generation, ()), ApiError>> + Send>>;

/// Requests alike but for their prompts. As many run at a time as the engine runs, so that those of a long list leave its queue
/// to others. The choices of a prompt follow those of the prompt before it.
pub(crate) struct Series {
    app: App,
    model: ModelHandle,
    metering: Metering,
    n_parallel: usize,
    /// Requests that have not begun, the next one last, each with its first choice.
    waiting: Vec<(usize, Request)>,
    starting: Option<(usize, Starting)>,
    running: Vec<(usize, Generation)>,
    done: Vec<Completion>,
}

impl Series {
    /// Queues the first request: most of what can be wrong with one is wrong with all.
    ///
    /// # Errors
    /// As [`Generation::start`].
    pub(crate) async fn start(
        app: &App,
        model: ModelHandle,
        requests: Vec<Request>,
    ) -> Result<Self, ApiError> {
        let first_choices = requests.iter().scan(0_usize, |next, request| {
            let first = *next;
            *next = first.saturating_add(request.n);
            Some(first)
        });
        let mut waiting: Vec<_> = first_choices.collect::<Vec<_>>().into_iter().zip(requests).collect();
        waiting.reverse();
        let mut series = Self {
            app: app.clone(),
            n_parallel: n_parallel(&model),
            model,
            metering: Metering::begin()?,
            waiting,
            starting: None,
            running: Vec::new(),
            done: Vec::new(),
        };
        series.start_next();
        if let Some((first, starting)) = series.starting.take() {
            series.running.push((first, starting.await?.0));
        }
        Ok(series)
    }

    /// Begins the next request, if there is one and it may run. It prepares its prompt elsewhere.
    fn start_next(&mut self) {
        if self.starting.is_some() || self.running.len() >= self.n_parallel {
            return;
        }
        let Some((first, request)) = self.waiting.pop() else { return };
        let (app, model, meter) = (self.app.clone(), self.model.clone(), self.metering.meter());
        let starting =
            async move { Generation::start_metered(&app, model, meter, |_| Ok((request, ()))).await };
        self.starting = Some((first, Box::pin(starting)));
    }

    /// Lets the next requests begin.
    ///
    /// # Errors
    /// If one cannot.
    fn poll_start(&mut self, context: &mut Context<'_>) -> Result<(), ApiError> {
        loop {
            self.start_next();
            let Some((first, starting)) = &mut self.starting else { return Ok(()) };
            let Poll::Ready(started) = starting.as_mut().poll(context) else { return Ok(()) };
            let first = *first;
            self.starting = None;
            self.running.push((first, started?.0));
        }
    }
}

impl Events for Series {
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<TokenEvent, ApiError>>> {
        loop {
            if let Err(error) = self.poll_start(context) {
                return Poll::Ready(Some(Err(error)));
            }
            let mut over = None;
            for (place, (first, generation)) in self.running.iter_mut().enumerate() {
                match generation.poll_event(context) {
                    Poll::Pending => {}
                    Poll::Ready(Some(event)) => {
                        let first = *first;
                        return Poll::Ready(Some(event.map(|mut event| {
                            event.choice += first;
                            event
                        })));
                    }
                    Poll::Ready(None) => {
                        over = Some(place);
                        break;
                    }
                }
            }
            let Some(place) = over else {
                let is_over = self.running.is_empty() && self.starting.is_none();
                return if is_over { Poll::Ready(None) } else { Poll::Pending };
            };
            let (first, generation) = self.running.swap_remove(place);
            match generation.completions() {
                Ok(completions) => self.done.extend(completions.into_iter().map(|mut completion| {
                    completion.choice += first;
                    completion
                })),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    fn completions(mut self) -> Result<Vec<Completion>, ApiError> {
        self.done.sort_by_key(|completion| completion.choice);
        Ok(self.done)
    }
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (waiting, running) = (self.waiting.len(), self.running.len());
        f.debug_struct("Series").field("waiting", &waiting).field("running", &running).finish_non_exhaustive()
    }
}
