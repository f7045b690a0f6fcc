//! `sm serve`: answers requests over HTTP.

mod args;
mod kv_events;
mod pull;
pub(super) mod stop;
mod traces;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sm_runtime::{DType, ModelSpec, Models};
use sm_server::{LoadProgress, Metrics, PageTabs, Server, ServerConfig, TermFilter};
use tokio::runtime;

pub(crate) use args::Args;
use kv_events::Events;
use pull::Pulls;

use crate::args::Served;
use crate::console::Console;
use crate::failure::Failure;
use crate::{config_file, hub, log};

/// Threads that read requests and write answers; the model has its own.
const IO_THREADS: usize = 2;

/// Serves until it is told to stop.
///
/// # Errors
/// If an option is invalid, or the address cannot be listened on.
pub(crate) fn run(args: &mut Args, console: &Console) -> Result<(), Failure> {
    if args.help_config {
        return console.piece(&config_file::reference());
    }
    if args.parallel == 0 {
        let message = "0 is not allowed; use at least 1".to_owned();
        return Err(Failure::Option { flag: "--parallel", message });
    }
    match (args.load_in_4bit, args.load_in_8bit) {
        (true, false) => args.engine.load.model.quantize(DType::Q4_0),
        (false, true) => args.engine.load.model.quantize(DType::Q8_0),
        _ => {}
    }
    if args.no_flash_attention {
        console
            .note(format_args!("--no-flash-attention: there is one attention, which gives the same tokens"));
    }
    raise_file_limit();
    let metrics = Metrics::new(args.metrics_compat.map(Into::into));
    let loading = LoadProgress::default();
    let events = args.kv_events.events()?;
    let Listed { models, first, spec } = models(args, console, &metrics, &loading, events.as_ref())?;
    let mut config = config(args, first)?;
    if args.allow_pull {
        let settings = hub::settings(console)?;
        let (metrics, loading) = (metrics.clone(), loading.clone());
        config = config.model_source(Some(Arc::new(Pulls { settings, spec, metrics, loading })));
    }
    let config = config.recent(metrics.recent()).metrics(metrics).loading(loading).log_level(log::set_level);
    let (config, traces) = traces::begin(config, console)?;
    let io = runtime::Builder::new_multi_thread().worker_threads(IO_THREADS).enable_all().build();
    let io = io.map_err(Failure::Threads)?;
    io.block_on(async {
        if let Some(events) = events {
            events.publish(console).await?;
        }
        serve(args, models, config, console).await
    })?;
    traces.end();
    Ok(())
}

async fn serve(args: &Args, models: Models, config: ServerConfig, console: &Console) -> Result<(), Failure> {
    let (mut server, place) = bind(args, models, config).await?;
    if let Some(port) = args.metrics_port {
        let address = SocketAddr::new(args.host[0], port).to_string();
        server = server.metrics_on(&address).await?;
    }
    let mut page = None;
    if let Some(port) = args.ui_port {
        // The first address of several, as of metrics.
        server = server.also_on(&SocketAddr::new(args.host[0], port).to_string()).await?;
        page = server.addresses().last().copied();
    }
    console.line(format_args!("listening on {place}"))?;
    if let Some(address) = page {
        console.line(format_args!("page on {}://{address}", scheme(args)))?;
    }
    if let Some(address) = server.metrics_address() {
        console.line(format_args!("metrics on http://{address}/metrics"))?;
    }
    stop::reload_on_hangup(server.reload());
    server.run(stop::stop()).await?;
    Ok(())
}

/// Listens, and says where.
async fn bind(args: &Args, models: Models, config: ServerConfig) -> Result<(Server, String), Failure> {
    #[cfg(unix)]
    if let Some(path) = &args.unix_socket {
        let server = Server::bind_unix(path, models, config)?;
        return Ok((server, path.display().to_string()));
    }
    let address = |host: IpAddr, port: u16| SocketAddr::new(host, port).to_string();
    let mut server = Server::bind(&address(args.host[0], args.port), models, config).await?;
    // The same port everywhere, even if the system has picked it.
    let port = server.address().port();
    for host in &args.host[1..] {
        server = server.also_on(&address(*host, port)).await?;
    }
    let place = format!("{}://{}", scheme(args), server.address());
    Ok((server, place))
}

fn scheme(args: &Args) -> &'static str {
    if args.tls_cert.is_some() { "https" } else { "http" }
}

/// The models of the command line.
struct Listed {
    models: Models,
    /// The name of the first.
    first: String,
    /// How the first is loaded.
    spec: ModelSpec,
}

/// All models.
fn models(
    args: &Args,
    console: &Console,
    metrics: &Metrics,
    loading: &LoadProgress,
    events: Option<&Events>,
) -> Result<Listed, Failure> {
    // Each model has its own limit, --memory-limit.
    let models = Models::new(u64::MAX);
    let first = args.engine.load.model.path();
    let served = Served {
        n_sequences: args.parallel,
        max_queued: args.max_queued,
        max_step_tokens: args.max_step_tokens.map(std::num::NonZeroUsize::get),
        template: args.defaults.template()?,
    };
    let mut listed = None;
    for (i, given) in std::iter::once(first).chain(args.more_models.iter().map(|path| &**path)).enumerate() {
        let (path, name) = named(given);
        let reporter = loading.reporter(&name);
        let spec = args.engine.spec(hub::model(path, console)?, &served, console, reporter)?;
        listed.get_or_insert_with(|| (name.clone(), spec.clone()));
        let spec = match events {
            Some(events) if i == 0 => events.observe(spec),
            _ => spec,
        };
        let aliases = args.alias.iter().filter(|alias| i == 0 && **alias != name);
        let spec = aliases.fold(spec.metrics(metrics.sink(&name)), |spec, alias| spec.alias(alias));
        models.add(&name, spec)?;
    }
    let (first, spec) = listed.expect("the command line has a model");
    Ok(Listed { models, first, spec })
}

/// The path and the name of `MODEL[=NAME]`. A path with an equals sign in it is one.
fn named(given: &Path) -> (&Path, String) {
    let parts = given.to_str().and_then(|text| text.rsplit_once('='));
    match parts.filter(|(_, name)| !name.is_empty() && !given.exists()) {
        Some((path, name)) => (Path::new(path), name.to_owned()),
        None => (given, hub::called(given)),
    }
}

fn config(args: &Args, name: String) -> Result<ServerConfig, Failure> {
    let seconds = Duration::from_secs;
    // 0 is no limit.
    let limit = |n_seconds: u64| Some(seconds(n_seconds)).filter(|limit| !limit.is_zero());
    let mut config = ServerConfig::new(name)
        .grace(seconds(args.grace))
        .max_body_bytes(usize::try_from(args.max_body.0).unwrap_or(usize::MAX))
        .max_connections(args.max_connections)
        .max_logprobs(args.max_logprobs)
        .stream_interval(args.stream_interval.get())
        .header_timeout(seconds(args.header_timeout.max(1)))
        .body_timeout(seconds(args.body_timeout.max(1)))
        .write_timeout(seconds(args.write_timeout.max(1)))
        .queue_timeout(limit(args.queue_timeout))
        .request_timeout(limit(args.request_timeout))
        .cors_origins(args.cors_allow_origin.clone())
        .rate_limit(args.rate_limit)
        .max_models(args.max_models.map(std::num::NonZeroUsize::get))
        .idle_unload(limit(args.idle_unload))
        .pinned_models(args.pin.clone())
        .response_cache(args.response_cache)
        .response_cache_age(seconds(args.response_cache_age));
    config = args.tool_call_parser.into_iter().fold(config, ServerConfig::tool_form);
    config.reasoning_format = args.reasoning_format.map(Into::into);
    config.defaults = args.defaults.options();
    config.shows_slots = !args.no_slots;
    config.logs_prompts = args.log_prompts;
    config.shows_metrics = !args.no_metrics;
    config.shows_page = !args.no_ui;
    config.tags.clone_from(&args.tags);
    config.prefills_assistant = args.prefill_assistant;
    config.has_verbose_answers = args.verbose_answers;
    config.any_model = args.any_model;
    config.model_path = Some(args.engine.load.model.path().display().to_string());
    config = args.api_key.iter().fold(config, ServerConfig::api_key);
    config = args.admin_key.iter().fold(config, ServerConfig::admin_key);
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path);
        text.map_err(|source| Failure::File { action: "read", path: path.clone(), source })
    };
    if let Some(path) = &args.ui_tabs {
        config = config.page_tabs(Some(PageTabs::parse(&read(path)?)?));
    }
    if let Some(path) = &args.content_filter {
        config = config.content_filter(TermFilter::new(&read(path)?)?);
    }
    if let Some(path) = &args.api_key_file {
        let text = read(path)?;
        let mut keys = text.lines().map(str::trim).filter(|key| !key.is_empty()).peekable();
        if keys.peek().is_none() {
            let message = format!("{} has no key, and the server would be open to all", path.display());
            return Err(Failure::Option { flag: "--api-key-file", message });
        }
        config = keys.fold(config, ServerConfig::api_key);
    }
    config = connected(args, config)?;
    Ok(match &args.api_keys {
        Some(path) => config.keys_file(path),
        None => config,
    })
}

/// Adds what connects the server with clients and replicas.
fn connected(args: &Args, mut config: ServerConfig) -> Result<ServerConfig, Failure> {
    if let Some(url) = &args.rate_limit_redis {
        config = config.shared_limits(url, args.rate_limit_fallback.into());
    }
    if let (Some(certificate), Some(key)) = (&args.tls_cert, &args.tls_key) {
        let provider = sm_hub::crypto_provider().ok_or_else(|| {
            let message =
                "this processor lacks what our TLS needs (AES, AVX2 and ADX, or those of 64-bit ARM); put a proxy in front".to_owned();
            Failure::Option { flag: "--tls-cert", message }
        })?;
        config = config.tls(certificate, key, provider);
    }
    Ok(config)
}

/// Lets the process open as many files as the system allows: each connection is one, and many systems begin at 1,024.
fn raise_file_limit() {
    #[cfg(unix)]
    {
        use nix::sys::resource::{Resource, getrlimit, setrlimit};
        if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
            // Fewer connections are served if it fails.
            let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
        }
    }
}
