//! Many requests on one model: the engine as callers see it.

mod active_request;
mod admission;
mod advice;
mod batch;
mod builder;
mod control;
mod directory;
mod disk;
mod engine_loop;
mod handle;
mod loading;
mod log;
mod sample;
mod session;
mod speculation;
mod stats;
mod step;
#[cfg(test)]
mod tests;
mod ticket;
#[cfg(feature = "typed")]
mod typed;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, SendError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, ThreadId};
use std::time::Instant;

use sm_batching::{BatchMemory, QueueLimit, Scheduler, StepLimits};
use sm_cache::{KvCache, Namespace, PagePool, SessionMode};
use sm_kernels::plan::{Executor, ExecutorInfo, PAGE_LEN};

pub(crate) use active_request::Delivery;
pub(crate) use builder::PlannedModels;
pub(crate) use control::deadline;

pub use batch::BatchRun;
pub use builder::EngineBuilder;
pub use directory::RequestNumber;
pub use handle::{RequestHandle, TokenStream};
pub use loading::Loading;
pub use session::Session;
pub use stats::EngineStats;
pub use ticket::RequestStatus;

use crate::kv_disk::program_fingerprint;
use crate::load::PreparedExecutor;
use crate::prompt::RenderedPrompt;
use crate::rules::Rules;
use crate::sampling::random_seed;
use crate::speculate::DraftModel;
use crate::{
    Completion, EngineConfig, Error, GenerationOptions, LimitedResource, LoadError, LoadedModel, Prompt,
    Request,
};
use active_request::{KeepAlive, RequestParams};
use admission::Admission;
use directory::Directory;
use disk::open_disk;
use engine_loop::{Core, Message, Parts, PromptTokens, Submission};
use session::Owner;
use speculation::Speculator;
use ticket::{Callback, Responder, Ticket};

/// Serves many requests on one model: each gets exactly the tokens that it would get alone.
///
/// A clone is another way to the same engine. When the last one is dropped, what still runs is ended.
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
    gate: Arc<Admission>,
    directory: Mutex<Directory>,
    model: LoadedModel,
    info: ExecutorInfo,
    namespace: Namespace,
    pool: PagePool,
}

impl Engine {
    /// An engine to be set up.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// Starts an engine on a loaded model, whose weights it shares with all clones of it.
    ///
    /// # Errors
    /// As [`EngineBuilder::start`].
    pub fn start(model: LoadedModel, config: EngineConfig) -> Result<Self, Error> {
        Self::builder().config(config).start(model, None)
    }

    fn new(
        model: LoadedModel,
        prepared: PreparedExecutor,
        draft: Option<DraftModel>,
        builder: EngineBuilder,
    ) -> Result<Self, Error> {
        let EngineBuilder { config, metrics, observers, .. } = builder;
        let PreparedExecutor { executor, kv_shape } = prepared;
        let info = executor.info().clone();
        let speculator = Speculator::new(config.speculation, draft, model.vocab_size);
        let bounds = model.bounds();
        let limits = *executor.limits();
        let pool = PagePool { n_pages: limits.n_pages, page_len: PAGE_LEN, shape: kv_shape };
        let steps = StepLimits {
            max_tokens: limits.max_tokens,
            max_outputs: limits.max_outputs,
            max_sequences: limits.max_sequences,
            row_group: info.row_group,
            memory: BatchMemory {
                fixed_bytes: info.activation_bytes as u64,
                bytes_per_token: kv_shape.position_bytes().unwrap_or(usize::MAX) as u64,
            },
        };
        let gate = Arc::new(Admission::new(config.batching.max_queued_requests));
        let namespace = namespace(&model, &*executor, &config)?;
        let scheduler = Scheduler::new(config.batching.clone(), steps)?;
        gate.max_batch_size.store(scheduler.batch_size(), Ordering::Relaxed);
        gate.context_len.store(model.context_len, Ordering::Relaxed);
        let mut cache = KvCache::new(config.cache.clone(), pool)?;
        observers.into_iter().for_each(|observer| cache.watch(observer));
        let (messages, received) = mpsc::channel();
        let open = |disk| open_disk(disk, &namespace, (&*executor, &mut cache), messages.clone());
        let disk = config.kv_disk.as_ref().map(open).transpose()?;
        let (text_of_core, gate_of_core) = (model.text.clone(), Arc::clone(&gate));
        let parts = Parts {
            executor,
            scheduler,
            cache,
            text: text_of_core,
            bounds,
            gate: gate_of_core,
            speculator,
            disk,
            metrics,
        };
        let thread = std::thread::Builder::new()
            .name("sm-engine".to_owned())
            .spawn(move || Core::new(parts).run(&received))
            .map_err(|source| LoadError::Thread { name: "sm-engine", source })?;
        log::started(&info, &config);
        Ok(Self(Arc::new(Inner {
            messages,
            thread_id: thread.thread().id(),
            thread: Mutex::new(Some(thread)),
            gate,
            directory: Mutex::default(),
            model,
            info,
            namespace,
            pool,
        })))
    }

    /// Puts a request into the queue; the handle is a future of its completions.
    ///
    /// # Errors
    /// If the request cannot be or the queue is full, before any work; [`Error::ShutDown`].
    pub fn submit(&self, request: Request) -> Result<RequestHandle, Error> {
        self.send(request, Delivery::Whole, Extra::default())
    }

    /// Puts a request into the queue; `callback` gets its result, once, whatever happens: on the engine's thread, so it should
    /// be quick.
    ///
    /// # Errors
    /// As [`Engine::submit`]; the callback is not called then.
    pub fn submit_with(
        &self,
        request: Request,
        callback: impl FnOnce(Result<Vec<Completion>, Error>) + Send + 'static,
    ) -> Result<RequestNumber, Error> {
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

    /// Where a request stands. The last few thousand that are over are remembered.
    pub fn status(&self, number: RequestNumber) -> Option<RequestStatus> {
        self.directory().status(number)
    }

    /// Ends a request at the next step boundary; `false` if it is over or unknown.
    pub fn cancel(&self, number: RequestNumber) -> bool {
        let is_cancelled = self.directory().cancel(number);
        // An engine that is gone has cancelled it already.
        let _ = self.0.messages.send(Message::Wake);
        is_cancelled
    }

    fn directory(&self) -> MutexGuard<'_, Directory> {
        self.0.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a request into the queue; the stream gives its tokens as they come.
    ///
    /// # Errors
    /// As [`Engine::submit`].
    pub fn stream(&self, request: Request) -> Result<TokenStream, Error> {
        self.send(request, Delivery::Stream, Extra::default()).map(TokenStream::new)
    }

    /// Continues a prompt to its end. Blocks; to wait without blocking, await [`Engine::submit`].
    ///
    /// # Errors
    /// As [`Engine::submit`] and [`RequestHandle::wait`].
    pub fn generate(&self, prompt: Prompt, options: &GenerationOptions) -> Result<Completion, Error> {
        let mut completions = self.submit(Request::new(prompt, options.clone()))?.wait()?;
        Ok(completions.swap_remove(0))
    }

    /// Continues many prompts, as many at a time as the engine takes, and gives the results in the prompts' order: an
    /// iterator that blocks. Prompt `i` has the seed of the options plus `i`; without one, each has a random seed.
    pub fn generate_batch<I>(&self, prompts: I, options: &GenerationOptions) -> BatchRun<I::IntoIter>
    where
        I: IntoIterator<Item = Prompt>,
    {
        BatchRun::new(self.clone(), prompts.into_iter(), options.clone())
    }

    /// A conversation that nobody else can name, and that is forgotten when the last clone of it is dropped and its calls are
    /// over.
    pub fn private_session(&self, mode: SessionMode) -> Session {
        Session::private(self.clone(), mode)
    }

    /// A conversation of which each call gives only what is new.
    ///
    /// # Errors
    /// If the name is blank.
    pub fn session(&self, name: &str) -> Result<Session, Error> {
        Session::new(self.clone(), name, SessionMode::Append)
    }

    /// A conversation of which each call gives everything said so far; what it has in common with the last is not computed
    /// again.
    ///
    /// # Errors
    /// If the name is blank.
    pub fn session_prefix(&self, name: &str) -> Result<Session, Error> {
        Session::new(self.clone(), name, SessionMode::Prefix)
    }

    /// Does something on the engine's thread between two steps, and waits for it.
    fn call<T: Send + 'static>(
        &self,
        what: impl FnOnce(&mut Core) -> T + Send + 'static,
    ) -> Result<T, Error> {
        if self.0.is_own_thread() {
            return Err(Error::EngineThread);
        }
        let (reply, replied) = mpsc::sync_channel(1);
        let call = move |core: &mut Core| {
            // Nobody waits for the reply of a caller that is gone.
            let _ = reply.send(what(core));
        };
        self.0.messages.send(Message::Call(Box::new(call))).map_err(|_| Error::ShutDown)?;
        replied.recv().map_err(|_| Error::ShutDown)
    }

    fn send(&self, request: Request, delivery: Delivery, extra: Extra) -> Result<RequestHandle, Error> {
        let Extra { callback, owner, has_spoken, keep_alive } = extra;
        let submitted = Instant::now();
        request.validate()?;
        let (limit, actual) = (self.max_batch_size(), request.n);
        if actual > limit {
            return Err(Error::limit(LimitedResource::Queue(QueueLimit::Choices), limit, actual));
        }
        let mode = request.session.as_ref().map(|(_, mode)| *mode);
        let LoadedModel { text, grammars, chat, .. } = &self.0.model;
        let mut rendered = RenderedPrompt::new(&request.prompt, chat.as_ref(), mode)?;
        let echo = rendered.echo(text, &request.options)?;
        let (first, start) = rendered.encode(text)?;
        let prompt = PromptTokens { first, start, appended: rendered.encode_appended(text) };
        let Request { options, n, select, priority, key, session, salt, speculate, filters, cancel, .. } =
            request;
        let rules = Rules::new(&options, text, grammars)?.with_filters(filters);
        let ticket = Ticket::new(n, options.limits.max_new_tokens, cancel.unwrap_or_default().child());
        self.0.gate.enter()?;
        let ticket = Arc::new(match callback {
            Some(callback) => ticket.with_callback(callback),
            None => ticket,
        });
        let number = self.directory().enter(&ticket);
        let terms = RequestParams {
            answer: Responder::new(Arc::clone(&ticket)),
            number,
            owner,
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
        };
        let namespace = Arc::new(Namespace { salt, ..self.0.namespace.clone() });
        let submission = Submission { terms, prompt, priority, key, session, namespace };
        if let Err(SendError(unsent)) = self.0.messages.send(Message::Submit(Box::new(submission))) {
            self.0.gate.n_sent.fetch_sub(1, Ordering::Relaxed);
            ticket.disarm();
            drop(unsent);
            return Err(Error::ShutDown);
        }
        Ok(RequestHandle::new(ticket, self.0.messages.clone(), number))
    }
}

/// What comes with a request from inside the engine.
#[derive(Default)]
struct Extra {
    callback: Option<Callback>,
    /// The session that must not be forgotten before the request is over.
    owner: Option<Arc<Owner>>,
    /// Whatever else must exist until the request is over.
    keep_alive: Option<KeepAlive>,
    /// Whether its session has been told something; set when it is.
    has_spoken: Option<Arc<AtomicBool>>,
}

impl Inner {
    /// Whether this is the engine's thread, in a callback, sink, observer or filter: it cannot wait for itself.
    fn is_own_thread(&self) -> bool {
        std::thread::current().id() == self.thread_id
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let is_own_thread = self.is_own_thread();
        let _ = self.messages.send(Message::Call(Box::new(|core| core.drain(Instant::now()))));
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // Its own thread ends when it comes to that.
        if let Some(thread) = thread.filter(|_| !is_own_thread) {
            let _ = thread.join();
        }
    }
}

/// What decides, beside tokens, what is in a page. In one process that is what runs; pages in a file also have to tell the
/// weights and the program.
///
/// # Errors
/// If there is to be a file and the model or the program has no fingerprint.
fn namespace(
    model: &LoadedModel,
    executor: &dyn Executor,
    config: &EngineConfig,
) -> Result<Namespace, Error> {
    let mut fingerprint = executor.info().kernels.clone();
    if config.kv_disk.is_some() {
        let unknown = || Error::validation("kv_disk", "the model has no fingerprint; load it with one");
        let weights = model.fingerprint.as_ref().ok_or_else(unknown)?;
        fingerprint = format!("{weights} {fingerprint} {}", program_fingerprint()?);
    }
    Ok(Namespace {
        model: fingerprint,
        kv_dtype: format!("{:?}", executor.limits().kv_dtype),
        ..Namespace::default()
    })
}
