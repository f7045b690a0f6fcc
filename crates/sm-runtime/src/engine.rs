//! The public engine API: many requests on one model.

mod active_request;
mod admission;
mod advice;
mod ahead;
mod batch;
mod builder;
mod choice_drafts;
mod control;
mod directory;
mod disk;
mod engine_loop;
mod guard;
mod handle;
mod loading;
mod log;
mod prompt_tokens;
mod reply;
mod request_params;
mod sample;
mod session;
mod speculation;
mod start;
mod stats;
mod step;
mod submission;
#[cfg(test)]
mod tests;
mod ticket;
#[cfg(feature = "typed")]
mod typed;

use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{SendError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, ThreadId};

use sm_batching::{QueueLimit, RequestId};
use sm_cache::{Namespace, PagePool, SessionMode};
use sm_kernels::plan::{ExecutorInfo, RopeRange};

pub(crate) use builder::PlannedModels;
pub(crate) use control::deadline;
pub(crate) use request_params::Delivery;

pub use batch::BatchRun;
pub use builder::EngineBuilder;
pub use handle::{RequestHandle, TokenStream};
pub use loading::Loading;
pub use session::{Session, SessionOptions};
pub use stats::EngineStats;
pub use ticket::RequestStatus;

use crate::clock::Clock;
use crate::input::longest;
use crate::rules::Rules;
use crate::sampling::random_seed;
use crate::{
    CancelToken, Completion, EngineConfig, Error, GenerationOptions, LimitedResource, LoadedModel, Prompt,
    Request, Select,
};
use admission::Admission;
use directory::Directory;
use engine_loop::{Core, Message};
use prompt_tokens::PromptTokens;
use reply::{Reply, reply};
use request_params::{KeepAlive, RequestParams};
use session::Owner;
use submission::Submission;
use ticket::{Callback, Responder, Ticket, TicketRoom, is_current};

/// Serves many requests on one model. Each gets exactly the tokens it would get alone.
///
/// Clones refer to the same engine. Dropping the last one cancels all outstanding requests.
///
/// ```no_run
/// use sm_runtime::{Engine, GenerationOptions, ModelRef, Prompt, Request};
///
/// # fn main() -> Result<(), sm_runtime::Error> {
/// let engine = Engine::builder().load(ModelRef::Demo)?;
/// let request = |text: &str| Request::new(Prompt::Text(text.into()), GenerationOptions::default());
/// let first = engine.submit(request("Once upon a time"))?;
/// let second = engine.submit(request("In a distant galaxy"))?;
/// println!("{}\n{}", first.wait()?[0].text, second.wait()?[0].text);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Engine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    messages: Sender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
    thread_id: ThreadId,
    admission: Arc<Admission>,
    directory: Mutex<Directory>,
    model: LoadedModel,
    info: ExecutorInfo,
    namespace: Namespace,
    pool: PagePool,
    /// As started, resolved.
    config: EngineConfig,
    clock: Clock,
}

impl Engine {
    /// Returns a builder.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// Starts an engine on a loaded model, sharing the weights with its clones.
    ///
    /// # Errors
    /// As [`EngineBuilder::start`].
    pub fn start(model: LoadedModel, config: EngineConfig) -> Result<Self, Error> {
        Self::builder().config(config).start(model, None)
    }

    /// Queues a request. The handle is a future of its completions.
    ///
    /// # Errors
    /// If the request is invalid or the queue is full, before any work is done; [`Error::ShutDown`].
    pub fn submit(&self, request: Request) -> Result<RequestHandle, Error> {
        self.send(request, Delivery::Whole, Extra::default())
    }

    /// Queues a request. `callback` receives its result exactly once, whatever happens. It runs on the engine's thread,
    /// so keep it short.
    ///
    /// # Errors
    /// As [`Engine::submit`]; the callback is then not called.
    pub fn submit_with(
        &self,
        request: Request,
        callback: impl FnOnce(Result<Vec<Completion>, Error>) + Send + 'static,
    ) -> Result<RequestId, Error> {
        let extra = Extra { callback: Some(Box::new(callback)), ..Extra::default() };
        Ok(self.send(request, Delivery::Whole, extra)?.detach())
    }

    /// As [`Engine::submit`] or [`Engine::stream`]; `keep_alive` is dropped when the request is over.
    ///
    /// # Errors
    /// As [`Engine::submit`].
    pub(crate) fn submit_keeping(
        &self,
        request: Request,
        delivery: Delivery,
        keep_alive: KeepAlive,
    ) -> Result<RequestHandle, Error> {
        self.send(request, delivery, Extra { keep_alive: Some(keep_alive), ..Extra::default() })
    }

    /// The status of a request. The last few thousand finished requests are remembered.
    pub fn status(&self, id: RequestId) -> Option<RequestStatus> {
        self.directory().status(id)
    }

    /// Cancels a request at the next step boundary; `false` if it is finished or unknown.
    pub fn cancel(&self, id: RequestId) -> bool {
        self.directory().cancel(id)
    }

    fn directory(&self) -> MutexGuard<'_, Directory> {
        self.0.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a request and streams its tokens as they are generated.
    ///
    /// # Errors
    /// As [`Engine::submit`].
    pub fn stream(&self, request: Request) -> Result<TokenStream, Error> {
        self.send(request, Delivery::Stream, Extra::default()).map(TokenStream::new)
    }

    /// Runs a prompt to completion. Blocks; to avoid blocking, await [`Engine::submit`].
    ///
    /// # Errors
    /// As [`Engine::submit`] and [`RequestHandle::wait`].
    pub fn generate(&self, prompt: Prompt, options: &GenerationOptions) -> Result<Completion, Error> {
        let mut completions = self.submit(Request::new(prompt, options.clone()))?.wait()?;
        Ok(completions.swap_remove(0))
    }

    /// As [`Engine::generate`]. `cancel` ends it, queued or running, with [`Error::Cancelled`].
    ///
    /// # Errors
    /// As [`Engine::generate`].
    pub fn generate_cancellable(
        &self,
        prompt: Prompt,
        options: &GenerationOptions,
        cancel: &CancelToken,
    ) -> Result<Completion, Error> {
        let request = Request::new(prompt, options.clone()).cancel(cancel.clone());
        Ok(self.submit(request)?.wait()?.swap_remove(0))
    }

    /// Generates `n` choices for a prompt that is computed once, and returns those that `select` keeps. Blocks; to
    /// avoid blocking, await [`Engine::submit`] of a request with [`Request::n`].
    ///
    /// # Errors
    /// As [`Engine::submit`] and [`RequestHandle::wait`].
    pub fn generate_choices(
        &self,
        prompt: Prompt,
        n: usize,
        select: Select,
        options: &GenerationOptions,
    ) -> Result<Vec<Completion>, Error> {
        self.submit(Request { n, select, ..Request::new(prompt, options.clone()) })?.wait()
    }

    /// Runs many prompts, as many at a time as the engine accepts, and yields results in prompt order: a blocking
    /// iterator, or without blocking by [`BatchRun::next_async`]. Prompt `i` uses the options' seed plus `i`; without a seed, each prompt draws a random one.
    pub fn generate_batch<I>(&self, prompts: I, options: &GenerationOptions) -> BatchRun<I::IntoIter>
    where
        I: IntoIterator<Item = Prompt>,
    {
        BatchRun::new(self.clone(), prompts.into_iter(), options.clone())
    }

    /// Opens a conversation by name or by [`SessionOptions`].
    ///
    /// # Errors
    /// If the name is blank, or calls append but nothing persists across requests.
    pub fn session(&self, options: impl Into<SessionOptions>) -> Result<Session, Error> {
        Session::new(self.clone(), options.into())
    }

    /// Checks that a session can have what its mode needs.
    fn check_session(&self, mode: SessionMode) -> Result<(), Error> {
        if mode == SessionMode::Append && !self.0.config.cache.persist_across_requests {
            let message = "calls that append need what earlier ones left, but persist_across_requests = false keeps nothing; \
                           set it to true, or send the whole conversation with each call (SessionMode::Prefix)";
            return Err(Error::validation("session", message));
        }
        Ok(())
    }

    /// Whether the caller is on the engine's thread (a callback, sink, observer, filter or waker), which must not wait
    /// for itself.
    fn is_own_thread(&self) -> bool {
        is_current(self.0.thread_id)
    }

    /// Runs a closure on the engine's thread between two steps, and blocks until it is done.
    ///
    /// # Errors
    /// [`Error::ShutDown`], [`Error::EngineThread`].
    fn call<T: Send + 'static>(
        &self,
        what: impl FnOnce(&mut Core) -> T + Send + 'static,
    ) -> Result<T, Error> {
        if self.is_own_thread() {
            return Err(Error::EngineThread);
        }
        self.ask(what).wait().ok_or_else(|| self.0.admission.end_error())
    }

    /// As [`Engine::call`], without blocking. Runs whether or not the future is awaited.
    fn call_async<T: Send + 'static, F: FnOnce(&mut Core) -> T + Send + 'static>(
        &self,
        what: F,
    ) -> impl Future<Output = Result<T, Error>> + Send + use<T, F> {
        let reply = self.ask(what);
        let admission = Arc::clone(&self.0.admission);
        async move { reply.await.ok_or_else(|| admission.end_error()) }
    }

    /// Schedules a closure on the engine's thread between two steps. The reply is `None` if the thread is gone.
    fn ask<T: Send + 'static>(&self, what: impl FnOnce(&mut Core) -> T + Send + 'static) -> Reply<T> {
        let (replier, reply) = reply();
        let call = move |core: &mut Core| {
            let value = what(core);
            // Publish first, so that whoever gets the reply sees the effect.
            core.publish();
            replier.give(value);
        };
        // If the thread is gone, the message is dropped, which closes the reply.
        let _ = self.0.messages.send(Message::Call(Box::new(call)));
        reply
    }

    /// Where a request that may reach `n_longest` positions finds pages, and which frequencies turn it: keys that others
    /// turned are of no use. A session may grow as long as the context; its first call cannot know.
    fn namespace(&self, salt: String, n_longest: usize) -> (Arc<Namespace>, RopeRange) {
        let rope_range = self.0.model.rope_range(n_longest);
        let mut namespace = Namespace { salt, ..self.0.namespace.clone() };
        if rope_range == RopeRange::Extended {
            namespace.model += " extended";
        }
        (Arc::new(namespace), rope_range)
    }

    /// A ticket that `cancel` cancels, which wakes the engine.
    fn ticket(&self, room: TicketRoom, cancel: &CancelToken, callback: Option<Callback>) -> Arc<Ticket> {
        let messages = self.0.messages.clone();
        let ticket = Ticket::new(room, cancel.child()).with_wake(move || _ = messages.send(Message::Wake));
        Arc::new(match callback {
            Some(callback) => ticket.with_callback(callback),
            None => ticket,
        })
    }

    fn send(&self, request: Request, delivery: Delivery, extra: Extra) -> Result<RequestHandle, Error> {
        let Extra { callback, owner, has_spoken, keep_alive } = extra;
        let submitted = self.0.clock.now();
        request.validate()?;
        let (limit, actual) = (self.max_batch_size(), request.n);
        if actual > limit {
            return Err(Error::limit(LimitedResource::Queue(QueueLimit::Choices), limit, actual));
        }
        let LoadedModel { text, grammars, .. } = &self.0.model;
        let (prompt, echo) = self.prompt(&request)?;
        let pooling = request.pooling;
        let reports_prefill = request.reports_prefill && delivery == Delivery::Stream;
        let Request {
            options, n, select, priority, client, session, salt, speculate, filters, cancel, ..
        } = request;
        let rules = Rules::new(&options, text, grammars)?.with_filters(filters);
        let n_prompt_tokens = match &prompt {
            PromptTokens::Alone(input) => Some(input.tokens.len()),
            PromptTokens::InSession { .. } => None,
        };
        let n_longest = n_prompt_tokens
            .map_or(self.0.model.context_len, |n| longest(n, &options, &self.0.model.bounds()));
        let (namespace, rope_range) = self.namespace(salt, n_longest);
        let room = TicketRoom {
            n_choices: n,
            max_new_tokens: options.limits.max_new_tokens,
            n_top: options.logprobs.unwrap_or(0),
        };
        self.0.admission.enter()?;
        let ticket = self.ticket(room, &cancel.unwrap_or_default(), callback);
        let id = self.directory().enter(&ticket);
        let params = RequestParams {
            responder: Responder::new(Arc::clone(&ticket), Arc::clone(&self.0.admission)),
            id,
            owner: owner.map(|owner| owner as KeepAlive),
            keep_alive,
            has_spoken,
            delivery,
            seed: options.sampling.seed.unwrap_or_else(random_seed),
            options,
            rules,
            echo,
            select,
            n,
            submitted,
            speculate,
            reports_prefill,
            pooling,
        };
        let submission = Submission { params, prompt, priority, client, session, namespace, rope_range };
        if let Err(SendError(unsent)) = self.0.messages.send(Message::Submit(Box::new(submission))) {
            self.0.admission.leave();
            ticket.disarm();
            drop(unsent);
            return Err(self.0.admission.end_error());
        }
        Ok(RequestHandle::new(ticket, id, self.0.thread_id, n_prompt_tokens))
    }
}

/// Internal additions to a request.
#[derive(Default)]
struct Extra {
    callback: Option<Callback>,
    /// The private session to keep until the request is over.
    owner: Option<Arc<Owner>>,
    /// Anything else to keep alive until the request is over.
    keep_alive: Option<KeepAlive>,
    /// Set once a call on the session has succeeded.
    has_spoken: Option<Arc<AtomicBool>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let _ = self.messages.send(Message::Call(Box::new(|core| core.drain(core.clock.now()))));
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // The engine's own thread cannot join itself; it ends on its own.
        if let Some(thread) = thread.filter(|_| !is_current(self.thread_id)) {
            let _ = thread.join();
        }
    }
}
