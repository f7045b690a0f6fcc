//! Many requests on one model: the engine as callers see it.

mod batch;
mod builder;
mod directory;
mod disk;
mod engine_loop;
mod gate;
mod handle;
mod live;
mod sample;
mod session;
mod speculation;
#[cfg(test)]
mod tests;
mod ticket;
#[cfg(feature = "typed")]
mod typed;

use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sm_batching::{BatchingConfig, BatchingStats, Scheduler, StepLimits};
use sm_cache::{KvCache, KvCacheStats, MemoryPlan, Namespace, PagePool, SessionMode};
use sm_kernels::plan::{ExecutorInfo, PAGE_LEN};
use sm_model::chat::{ChatError, ChatTemplate};
use sm_model::tokenizer::{EncodeOptions, Tokenizer};

pub use batch::BatchRun;
pub use builder::EngineBuilder;
pub use directory::RequestNumber;
pub use handle::{RequestHandle, TokenStream};
pub use session::Session;
pub use ticket::RequestStatus;

use crate::grammar::Grammars;
use crate::input::{echo, encode};
use crate::kv_disk::{DiskTier, KvDiskStats, program_fingerprint};
use crate::rules::Rules;
use crate::sampling::random_seed;
use crate::speculate::{DraftModel, SpeculationStats};
use crate::text::Text;
use crate::{Completion, EngineConfig, Error, GenerationOptions, LoadedModel, Prompt, Request};
use directory::Directory;
use disk::open_disk;
use engine_loop::{Core, Message, Parts, PromptTokens, Submission};
use gate::Gate;
use live::{Delivery, Terms};
use speculation::Speculator;
use ticket::{Answer, Callback, Ticket};

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
    gate: Arc<Gate>,
    directory: Mutex<Directory>,
    text: Text,
    grammars: Grammars,
    context_len: usize,
    chat: Result<ChatTemplate, ChatError>,
    info: ExecutorInfo,
    namespace: Namespace,
    pool: PagePool,
    max_batch_size: usize,
}

/// What an engine does and has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineStats {
    /// Requests that run or wait.
    pub live_requests: usize,
    /// Sequences that have slots.
    pub running: usize,
    /// Requests in the queue.
    pub waiting: usize,
    /// Sequences that can have slots, at most.
    pub max_running: usize,
    /// Sequences that can have slots now, as far as the batch size adapts.
    pub batch_size: usize,
    /// Counters of the scheduler.
    pub batching: BatchingStats,
    /// Counters of the KV cache.
    pub cache: KvCacheStats,
    /// What guesses of next tokens were worth.
    pub speculation: SpeculationStats,
    /// Counters of the disk tier of the KV cache.
    pub kv_disk: KvDiskStats,
}

impl EngineStats {
    /// Slots that are free.
    pub fn available_slots(&self) -> usize {
        self.max_running.saturating_sub(self.running)
    }

    /// Share of the memory for keys and values that is held, cached pages included, from 0 to 1.
    pub fn memory_usage(&self) -> f64 {
        ratio(self.cache.current_bytes, self.cache.max_bytes)
    }

    /// Sequences per step, on average; 0 before the first.
    pub fn average_batch_size(&self) -> f64 {
        ratio(self.batching.spans, self.batching.steps)
    }

    /// Milliseconds that a request waited for its first step, on average; 0 before the first.
    pub fn average_wait_ms(&self) -> f64 {
        ratio(self.batching.waited_us, self.batching.admitted) / 1e3
    }
}

fn ratio(sum: u64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { sum as f64 / count as f64 }
}

impl Engine {
    /// An engine to be set up.
    pub fn builder<'d>() -> EngineBuilder<'d> {
        EngineBuilder::default()
    }

    /// Starts on a model that is loaded: with as many sequences at a time as its executor and the configuration allow.
    ///
    /// # Errors
    /// If a value of the configuration cannot be used.
    pub fn start(model: LoadedModel, config: EngineConfig) -> Result<Self, Error> {
        Self::builder().config(config).start(model, None)
    }

    fn new(model: LoadedModel, draft: Option<DraftModel>, builder: EngineBuilder<'_>) -> Result<Self, Error> {
        let EngineBuilder { config, metrics, .. } = builder;
        config.speculation.validate()?;
        let speculator = Speculator::new(config.speculation, draft, model.vocab_size);
        let bounds = model.bounds();
        let limits = *model.executor.limits();
        let pool = PagePool { n_pages: limits.n_pages, page_len: PAGE_LEN, shape: model.kv_shape };
        let steps = StepLimits {
            max_tokens: limits.max_tokens,
            max_outputs: limits.max_outputs,
            max_sequences: limits.max_sequences,
            row_group: model.info().row_group,
        };
        let gate = Arc::new(Gate::new(config.batching.max_queued_requests));
        let namespace = namespace(&model, &config)?;
        let LoadedModel { executor, text, grammars, context_len, chat, .. } = model;
        let info = executor.info().clone();
        let scheduler = Scheduler::new(config.batching, steps)?;
        let max_batch_size = scheduler.batch_size();
        let mut cache = KvCache::new(config.cache, pool)?;
        let (messages, received) = mpsc::channel();
        let open = |disk| open_disk(disk, &namespace, (&*executor, &mut cache), messages.clone());
        let disk = config.kv_disk.as_ref().map(open).transpose()?;
        let (text_of_core, gate_of_core) = (text.clone(), Arc::clone(&gate));
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
            .map_err(|source| Error::Thread { source })?;
        Ok(Self(Arc::new(Inner {
            messages,
            thread: Mutex::new(Some(thread)),
            gate,
            directory: Mutex::default(),
            text,
            grammars,
            context_len,
            chat,
            info,
            namespace,
            pool,
            max_batch_size,
        })))
    }

    /// Puts a request into the queue; the handle is a future of its completions.
    ///
    /// # Errors
    /// If the request cannot be or the queue is full, before any work; [`Error::ShutDown`].
    pub fn submit(&self, request: Request) -> Result<RequestHandle, Error> {
        self.send(request, Delivery::Whole, None)
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
        Ok(self.send(request, Delivery::Whole, Some(Box::new(callback)))?.detach())
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
        self.send(request, Delivery::Stream, None).map(TokenStream::new)
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

    /// What it does and has done; waits for the step that runs.
    ///
    /// # Errors
    /// [`Error::ShutDown`].
    pub fn stats(&self) -> Result<EngineStats, Error> {
        let max_running = self.0.max_batch_size;
        self.call(move |core| EngineStats {
            live_requests: core.n_live(),
            running: core.scheduler.n_running(),
            waiting: core.scheduler.n_waiting(),
            max_running,
            batch_size: core.scheduler.current_batch_size(),
            batching: core.scheduler.stats(),
            cache: core.cache.stats(),
            speculation: core.speculator.stats,
            kv_disk: core.disk.as_ref().map(DiskTier::stats).unwrap_or_default(),
        })
    }

    /// Changes how requests are batched, from the next step on. Those that run stay.
    ///
    /// # Errors
    /// If a value cannot be used; [`Error::ShutDown`].
    pub fn reconfigure(&self, batching: BatchingConfig) -> Result<(), Error> {
        let limit = batching.max_queued_requests;
        self.call(move |core| core.scheduler.reconfigure(batching))??;
        self.0.gate.limit.store(limit, Ordering::Relaxed);
        Ok(())
    }

    /// Lets go of cached pages until at most `max_bytes` are held; what runs keeps its own. Gives the bytes that are
    /// still held.
    ///
    /// # Errors
    /// [`Error::ShutDown`].
    pub fn trim_memory(&self, max_bytes: u64) -> Result<u64, Error> {
        self.call(move |core| core.cache.trim(max_bytes))
    }

    /// Takes no more requests, gives those that run `grace` to end, ends the rest, and waits for that. Everybody is
    /// answered. A second call finds nothing to do.
    pub fn shut_down(&self, grace: Duration) {
        self.drain(Instant::now() + grace);
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic of the thread has answered everybody too, by the drop of their answers.
            let _ = thread.join();
        }
    }

    /// Takes no more requests; those that run have until then.
    pub(crate) fn drain(&self, until: Instant) {
        // A thread that is gone already has answered everybody.
        let _ = self.0.messages.send(Message::Call(Box::new(move |core| core.drain(until))));
    }

    /// The backend, its kernels, workers and memory.
    pub fn info(&self) -> &ExecutorInfo {
        &self.0.info
    }

    /// What this engine takes with `n_sequences` sequences at a time of `context_len` positions each.
    pub fn memory_plan(&self, n_sequences: u64, context_len: u64) -> MemoryPlan {
        let ExecutorInfo { weight_bytes, activation_bytes, .. } = self.0.info;
        MemoryPlan {
            weight_bytes: weight_bytes as u64,
            workspace_bytes: activation_bytes as u64,
            n_sequences,
            context_len,
            pool: self.0.pool,
        }
    }

    /// The tokenizer, if the model has one.
    pub fn tokenizer(&self) -> Option<&Arc<dyn Tokenizer>> {
        self.0.text.0.as_ref()
    }

    /// The chat templates that come with the model.
    ///
    /// # Errors
    /// If there are none, or they cannot be used.
    pub fn chat_template(&self) -> Result<&ChatTemplate, &ChatError> {
        self.0.chat.as_ref()
    }

    /// Positions per sequence.
    pub fn context_len(&self) -> usize {
        self.0.context_len
    }

    /// Does something on the engine's thread between two steps, and waits for it.
    fn call<T: Send + 'static>(
        &self,
        what: impl FnOnce(&mut Core) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, replied) = mpsc::sync_channel(1);
        let call = move |core: &mut Core| {
            // Nobody waits for the reply of a caller that is gone.
            let _ = reply.send(what(core));
        };
        self.0.messages.send(Message::Call(Box::new(call))).map_err(|_| Error::ShutDown)?;
        replied.recv().map_err(|_| Error::ShutDown)
    }

    fn send(
        &self,
        request: Request,
        delivery: Delivery,
        callback: Option<Callback>,
    ) -> Result<RequestHandle, Error> {
        let submitted = Instant::now();
        request.validate()?;
        let (limit, actual) = (self.0.max_batch_size, request.n);
        if actual > limit {
            let remedy = "ask for fewer continuations or raise max_batch_size";
            return Err(Error::ResourceLimit { resource: "n", limit, actual, remedy });
        }
        let echo = echo(&self.0.text, &request.prompt, &request.options)?;
        let prompt = self.tokens(&request.prompt)?;
        let Request { options, n, select, priority, key, session, salt, speculate, filters, .. } = request;
        let rules = Rules::new(&options, &self.0.text, &self.0.grammars)?.with_filters(filters);
        let ticket = Ticket::new(n, options.limits.max_new_tokens);
        self.0.gate.enter()?;
        let ticket = Arc::new(match callback {
            Some(callback) => ticket.with_callback(callback),
            None => ticket,
        });
        let terms = Terms {
            answer: Answer::new(Arc::clone(&ticket)),
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
        self.0.messages.send(Message::Submit(Box::new(submission))).map_err(|_| Error::ShutDown)?;
        let number = self.directory().enter(&ticket);
        Ok(RequestHandle::new(ticket, self.0.messages.clone(), number))
    }

    fn tokens(&self, prompt: &Prompt) -> Result<PromptTokens, Error> {
        let text = &self.0.text;
        let (first, start) = encode(text, prompt)?;
        let appended = match prompt {
            Prompt::Append(prompt) => Some(text.encode(prompt, EncodeOptions::PLAIN)?),
            Prompt::Text(_) | Prompt::Chat(_) | Prompt::Tokens(_) => None,
        };
        Ok(PromptTokens { first, start, appended })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let _ = self.messages.send(Message::Call(Box::new(|core| core.drain(Instant::now()))));
        if let Some(thread) = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

/// What decides, beside tokens, what is in a page. In one process that is what runs; pages in a file also have to tell the
/// weights and the program.
///
/// # Errors
/// If there is to be a file and the model or the program has no fingerprint.
fn namespace(model: &LoadedModel, config: &EngineConfig) -> Result<Namespace, Error> {
    let mut fingerprint = model.info().kernels.clone();
    if config.kv_disk.is_some() {
        let unknown = || Error::validation("kv_disk", "the model has no fingerprint; load it with one");
        let weights = model.fingerprint.as_ref().ok_or_else(unknown)?;
        fingerprint = format!("{weights} {fingerprint} {}", program_fingerprint()?);
    }
    Ok(Namespace {
        model: fingerprint,
        kv_dtype: format!("{:?}", model.executor.limits().kv_dtype),
        ..Namespace::default()
    })
}
