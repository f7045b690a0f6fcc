//! Listening, serving, and stopping without cutting answers off.

use std::net::{Ipv4Addr, SocketAddr};
#[cfg(unix)]
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sm_runtime::Models;
use tokio::sync::{Notify, oneshot};

use crate::app::App;
use crate::connections::{ConnectionSettings, Listener, Tls, serve};
use crate::llamacpp::props;
use crate::router::{metrics_router, router};
use crate::{ServerConfig, ServerError};

/// How often the files of keys and of the certificate are looked at.
const FILES_PERIOD: Duration = Duration::from_secs(2);

/// How long connections have, after the last answer has been made, to read it.
const LAST_READS: Duration = Duration::from_secs(5);

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    app: App,
    tls: Option<Tls>,
    listener: Listener,
    metrics_listener: Option<Listener>,
    reload: Arc<Notify>,
}

/// Asks a running server to read its keys and its certificate again, as it does by itself within seconds of a change.
#[derive(Clone, Debug)]
pub struct Reload(Arc<Notify>);

impl Reload {
    /// Asks.
    pub fn now(&self) {
        self.0.notify_one();
    }
}

impl Server {
    /// Listens on an address such as `127.0.0.1:8000`; port 0 picks a free one. Models are loaded on first use, the default
    /// model by [`Server::run`].
    ///
    /// # Errors
    /// [`ServerError::Bind`], [`ServerError::Keys`], [`ServerError::Tls`].
    pub async fn bind(address: &str, models: Models, config: ServerConfig) -> Result<Self, ServerError> {
        let app = App::new(models, config)?;
        Self::new(app, listen(address).await?)
    }

    /// Listens on a unix socket. The file of one at which nobody listens any more is replaced.
    ///
    /// # Errors
    /// [`ServerError::Bind`], [`ServerError::Keys`], [`ServerError::Tls`].
    #[cfg(unix)]
    pub fn bind_unix(path: &Path, models: Models, config: ServerConfig) -> Result<Self, ServerError> {
        let app = App::new(models, config)?;
        let failed = |source| ServerError::Bind { address: path.display().to_string(), source };
        Self::new(app, Listener::unix(path).map_err(failed)?)
    }

    fn new(app: App, listener: Listener) -> Result<Self, ServerError> {
        let tls = app.config().tls.clone().map(Tls::new).transpose()?;
        Ok(Self { app, tls, listener, metrics_listener: None, reload: Arc::default() })
    }

    /// Also listens on another address.
    ///
    /// # Errors
    /// [`ServerError::Bind`].
    pub async fn also_on(mut self, address: &str) -> Result<Self, ServerError> {
        let failed = |source| ServerError::Bind { address: address.to_owned(), source };
        self.listener.also_tcp(address).await.map_err(failed)?;
        Ok(self)
    }

    /// Also listens on a second address, which serves `/metrics` and needs no key.
    ///
    /// # Errors
    /// [`ServerError::Bind`].
    pub async fn metrics_on(self, address: &str) -> Result<Self, ServerError> {
        Ok(Self { metrics_listener: Some(listen(address).await?), ..self })
    }

    /// Where it listens; `0.0.0.0:0` if that is a unix socket.
    pub fn address(&self) -> SocketAddr {
        self.listener.address().unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, 0).into())
    }

    /// Everywhere it listens, in the order in which it was told to; nowhere if that is a unix socket.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listener.addresses()
    }

    /// Where it serves metrics, if that is another address.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_listener.as_ref().and_then(Listener::address)
    }

    /// What asks it to read its keys and its certificate again.
    pub fn reload(&self) -> Reload {
        Reload(Arc::clone(&self.reload))
    }

    /// Loads the default model and the pinned ones, and serves until `stop` is ready. Then new requests are refused with 503, and
    /// running ones have [`ServerConfig::grace`](field@ServerConfig::grace) to finish; those that do not are cancelled and told so.
    ///
    /// # Errors
    /// [`ServerError::Serve`].
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), ServerError> {
        let Self { app, tls, listener, metrics_listener, reload } = self;
        load_first_models(&app);
        let config = app.config();
        let settings = ConnectionSettings {
            max_connections: config.max_connections,
            header_timeout: config.header_timeout,
            write_timeout: config.write_timeout,
            tls: tls.clone(),
        };
        // Whoever scrapes is inside the same network.
        let open_settings = ConnectionSettings { tls: None, ..settings.clone() };
        let (stopped, engines_end) = oneshot::channel::<()>();
        let draining = app.clone();
        let stop = async move {
            stop.await;
            draining.drain();
            let models = draining.models().clone();
            let grace = draining.config().grace;
            tokio::task::spawn_blocking(move || {
                models.shut_down(grace);
                // Nobody waits if serving has failed.
                let _ = stopped.send(());
            });
        };
        let last = async move {
            // The sender is dropped only if ending the engines has panicked: then there is nothing to wait for.
            let _ = engines_end.await;
            tokio::time::sleep(LAST_READS).await;
        };
        let metrics = async {
            match metrics_listener {
                Some(listener) => {
                    let never = std::future::pending;
                    serve(listener, metrics_router(app.clone()), open_settings, never(), never()).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = serve(listener, router(app.clone()), settings, stop, last) => {}
            () = metrics => {}
            () = app.keeper().run() => {}
            () = watch_files(&app, tls.as_ref(), &reload) => {}
        }
        // The last answers have gone out; their engines may still be ending.
        let models = app.models().clone();
        let ended = tokio::task::spawn_blocking(move || models.shut_down(Duration::ZERO));
        ended.await.map_err(|error| ServerError::Serve(std::io::Error::other(error)))
    }
}

async fn listen(address: &str) -> Result<Listener, ServerError> {
    let failed = |source| ServerError::Bind { address: address.to_owned(), source };
    Listener::tcp(address).await.map_err(failed)
}

/// Loads the default model and the pinned ones in the background, so that `/ready` can tell of it and the first request does not
/// wait. If that fails, requests get the error.
fn load_first_models(app: &App) {
    let config = app.config();
    let pinned = config.pinned_models.iter().filter(|name| **name != config.default_model);
    for name in std::iter::once(&config.default_model).chain(pinned).cloned() {
        let app = app.clone();
        tokio::spawn(async move {
            let loaded = match app.models().acquire(&name) {
                Ok(loading) => loading.await,
                Err(error) => Err(error),
            };
            match &loaded {
                Ok(_) => tracing::info!(model = name, "model loaded"),
                Err(error) => tracing::error!(model = name, %error, "cannot load the model"),
            }
            if name == app.config().default_model {
                props::remember(&app);
                app.set_first_load(loaded.map(drop).map_err(|error| error.to_string()));
            }
        });
    }
}

/// Reads the files of keys and of the certificate again when they have changed or somebody asks.
async fn watch_files(app: &App, tls: Option<&Tls>, reload: &Notify) {
    if !app.keys().have_file() && tls.is_none() {
        std::future::pending::<()>().await;
    }
    let mut ticks = tokio::time::interval(FILES_PERIOD);
    loop {
        let is_asked = tokio::select! {
            _ = ticks.tick() => false,
            () = reload.notified() => true,
        };
        let (app, tls) = (app.clone(), tls.cloned());
        let reading = tokio::task::spawn_blocking(move || {
            if app.keys().have_file() && (is_asked || app.keys().has_file_changed()) {
                reload_keys(&app);
            }
            if let Some(tls) = tls.filter(|tls| is_asked || tls.have_files_changed()) {
                match tls.reload() {
                    Ok(()) => tracing::info!("the certificate was read again"),
                    Err(error) => tracing::error!(%error, "the certificate stays as it was"),
                }
            }
        });
        if let Err(error) = reading.await {
            tracing::error!(%error, "reading keys and certificates panicked");
        }
    }
}

fn reload_keys(app: &App) {
    match app.keys().reload() {
        Ok(()) => {
            // A key may no longer have the model that has answered it.
            app.response_cache().clear();
            tracing::info!("the keys were read again");
        }
        Err(error) => tracing::error!(%error, "the keys stay as they were"),
    }
}
