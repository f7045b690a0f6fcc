//! `sm serve`: answers requests over HTTP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use sm_runtime::{ByteSize, Models, RecentMetrics};
use sm_server::{Server, ServerConfig};
use tokio::runtime;

use crate::args::EngineArgs;
use crate::console::Console;
use crate::failure::Failure;

/// Threads that read requests and write answers; the model has its own.
const IO_THREADS: usize = 2;

/// Serve a model over HTTP, for OpenAI's clients
#[derive(Debug, clap::Args)]
#[command(
    alias = "server",
    after_help = "\
Examples:
  sm serve
  sm serve -m model.gguf --port 8080 --alias gpt-4o --parallel 16

  curl http://127.0.0.1:8000/v1/chat/completions \\
    -d '{\"messages\": [{\"role\": \"user\", \"content\": \"What is 17 + 25?\"}]}'

It stops on Ctrl-C or SIGTERM: new requests are refused, and running ones have --grace seconds to finish.
Endpoints: /v1/chat/completions, /v1/completions, /v1/models, /health, /ready."
)]
pub(crate) struct Args {
    /// Address to listen on
    #[arg(long, env = "HOST", value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), help_heading = "Server")]
    host: IpAddr,
    /// Port to listen on; 0 picks a free one
    #[arg(long, env = "PORT", value_name = "N", default_value_t = 8000, help_heading = "Server")]
    port: u16,
    /// Another name for the model; may be repeated
    #[arg(long, visible_alias = "served-model-name", value_name = "NAME", help_heading = "Server")]
    alias: Vec<String>,
    /// Requests that run at a time
    #[arg(
        long,
        visible_alias = "max-num-seqs",
        value_name = "N",
        default_value_t = 8,
        help_heading = "Server"
    )]
    parallel: usize,
    /// Requests that wait at most; more are refused with 429
    #[arg(long, value_name = "N", default_value_t = 100, help_heading = "Server")]
    max_queued: usize,
    /// Largest body of a request, as in 16M
    #[arg(long, value_name = "N", default_value = "16M", help_heading = "Server")]
    max_body: ByteSize,
    /// Seconds that running requests may take after the server was told to stop
    #[arg(
        long,
        visible_alias = "shutdown-timeout",
        value_name = "SECONDS",
        default_value_t = 30,
        help_heading = "Server"
    )]
    grace: u64,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Serves until it is told to stop.
///
/// # Errors
/// If an option is invalid, or the address cannot be listened on.
pub(crate) fn run(args: &Args, console: &Console) -> Result<(), Failure> {
    if args.parallel == 0 {
        let message = "0 is not allowed; use at least 1".to_owned();
        return Err(Failure::Option { flag: "--parallel", message });
    }
    let name = args.engine.load.model.name();
    let aliases = args.alias.iter().filter(|alias| **alias != name);
    let spec = args.engine.spec(args.parallel, args.max_queued, console)?;
    let recent = Arc::new(RecentMetrics::default());
    let spec = spec.metrics(Arc::clone(&recent) as _);
    let spec = aliases.fold(spec, |spec, alias| spec.alias(alias));
    // The model has its own limit, --memory-limit.
    let models = Models::new(u64::MAX);
    models.add(&name, spec)?;
    let config = ServerConfig::new(name)
        .recent(recent)
        .grace(Duration::from_secs(args.grace))
        .max_body_bytes(usize::try_from(args.max_body.0).unwrap_or(usize::MAX));
    let io = runtime::Builder::new_multi_thread().worker_threads(IO_THREADS).enable_all().build();
    let io = io.map_err(Failure::Threads)?;
    io.block_on(async {
        let address = SocketAddr::new(args.host, args.port).to_string();
        let server = Server::bind(&address, models, config).await?;
        console.line(format_args!("listening on http://{}", server.address()))?;
        server.run(stop()).await?;
        Ok(())
    })
}

/// Ready on Ctrl-C or SIGTERM. Without handlers, the server runs until it is killed.
async fn stop() {
    let interrupted = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => _ = signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending::<()>();
    tokio::select! {
        () = interrupted => {}
        () = terminated => {}
    }
}
