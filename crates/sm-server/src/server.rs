//! Listening, serving, and stopping without cutting answers off.

use std::net::SocketAddr;

use sm_runtime::Models;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::app::App;
use crate::router::router;
use crate::{ServerConfig, ServerError};

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    app: App,
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Listens on an address such as `127.0.0.1:8000`; port 0 picks a free one. Models are loaded on first use, the default
    /// model by [`Server::run`].
    ///
    /// # Errors
    /// [`ServerError::Bind`].
    pub async fn bind(address: &str, models: Models, config: ServerConfig) -> Result<Self, ServerError> {
        let failed = |source| ServerError::Bind { address: address.to_owned(), source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { app: App::new(models, config), listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Loads the default model, and serves until `stop` is ready. Then new requests are refused with 503, and running ones
    /// have [`ServerConfig::grace`](field@ServerConfig::grace) to finish; those that do not are cancelled and told so.
    ///
    /// # Errors
    /// [`ServerError::Serve`].
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), ServerError> {
        let Self { app, listener, .. } = self;
        load_default_model(app.clone());
        let (stopped, engines_end) = oneshot::channel();
        let draining = app.clone();
        let serving = axum::serve(listener, router(app)).with_graceful_shutdown(async move {
            stop.await;
            draining.drain();
            let models = draining.models().clone();
            let grace = draining.config().grace;
            tokio::task::spawn_blocking(move || {
                models.shut_down(grace);
                // Nobody waits if serving has failed.
                let _ = stopped.send(());
            });
        });
        serving.await.map_err(ServerError::Serve)?;
        // The last answers have gone out; their engines may still be ending.
        let _ = engines_end.await;
        Ok(())
    }
}

/// Loads the default model in the background, so that `/ready` can tell of it and the first request does not wait. If that fails,
/// requests get the error.
fn load_default_model(app: App) {
    tokio::spawn(async move {
        let name = app.config().default_model.clone();
        let loaded = match app.models().acquire(&name) {
            Ok(loading) => loading.await,
            Err(error) => Err(error),
        };
        match loaded {
            Ok(_) => tracing::info!(model = name, "model loaded"),
            Err(error) => tracing::error!(model = name, %error, "cannot load the model"),
        }
    });
}
