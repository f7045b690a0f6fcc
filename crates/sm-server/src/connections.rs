//! Connections: accepting them, HTTP over each, and ending them.
//!
//! `axum::serve` does the same without limits of time: a client that sends a header byte by byte, or reads nothing, would
//! hold its connection forever.

mod listener;
mod tls;
mod write_timeout;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;

pub(crate) use listener::Listener;
pub(crate) use tls::{Tls, TlsSource};
use write_timeout::WriteTimeout;

/// Bytes of all headers of a request. With more, it is refused with 431.
const MAX_HEADER_BYTES: usize = 64 << 10;

/// Headers of a request.
const MAX_HEADERS: usize = 100;

/// Requests that a client may have open on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;

/// How long to wait after accepting has failed, as it does when there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The address of a client; `None` at a unix socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) Option<IpAddr>);

/// The limits of connections, and whether they are encrypted.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionSettings {
    /// Connections at a time. More wait to be accepted.
    pub(crate) max_connections: usize,
    /// Until a request's headers have arrived, from the end of the one before.
    pub(crate) header_timeout: Duration,
    /// Until a client that reads nothing is given up.
    pub(crate) write_timeout: Duration,
    pub(crate) tls: Option<Tls>,
}

/// Accepts connections until `stop` is ready. Then nothing is accepted any more, and the requests that run are finished;
/// connections that are still open when `last` is ready are cut.
pub(crate) async fn serve(
    listener: Listener,
    router: Router,
    settings: ConnectionSettings,
    stop: impl Future<Output = ()>,
    last: impl Future<Output = ()>,
) {
    let open = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(settings.max_connections.clamp(1, Semaphore::MAX_PERMITS)));
    let builder = builder(&settings);
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut stop => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let router = router.clone();
        let builder = builder.clone();
        let settings = settings.clone();
        let watcher = open.watcher();
        tokio::spawn(async move {
            let _permit = permit;
            let Some(stream) = encrypted(stream, &settings).await else { return };
            let io = TokioIo::new(WriteTimeout::new(stream, settings.write_timeout));
            let service = service_fn(move |request| answer(router.clone(), request, peer));
            let connection = builder.serve_connection(io, service).into_owned();
            if let Err(error) = watcher.watch(connection).await {
                tracing::debug!(error = &*error as &dyn std::error::Error, "connection ended");
            }
        });
    }
    drop(listener);
    tokio::select! {
        () = open.shutdown() => {}
        () = last => tracing::warn!("connections were cut whose clients read too slowly"),
    }
}

/// What a connection carries.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// The stream behind TLS, if that is spoken; `None` if the client does not speak it in time.
async fn encrypted(stream: Box<dyn Stream>, settings: &ConnectionSettings) -> Option<Box<dyn Stream>> {
    let Some(tls) = &settings.tls else { return Some(stream) };
    match tokio::time::timeout(settings.header_timeout, tls.accept(stream)).await {
        Ok(Ok(stream)) => Some(Box::new(stream)),
        Ok(Err(error)) => {
            tracing::debug!(%error, "no TLS connection");
            None
        }
        Err(_) => None,
    }
}

fn builder(limits: &ConnectionSettings) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        // Names mean the same in any case, but some clients look for these.
        .title_case_headers(true)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(Some(limits.header_timeout))
        .keep_alive_timeout(limits.header_timeout);
    builder
}

async fn answer(
    router: Router,
    request: Request<Incoming>,
    peer: Peer,
) -> Result<axum::response::Response, Infallible> {
    use tower_service::Service;
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(peer);
    // A router is always ready.
    router.clone().call(request).await
}
