//! `POST /api/pull`: fetches a model that the server does not have yet, and adds it to those that it serves.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{lines, names};
use crate::app::App;
use crate::call::Call;
use crate::error::{ApiError, Envelope};
use crate::model_source::{ModelSource, PullError, PullProgress};
use crate::openai::create::parse;
use crate::wire::options;

/// Reports that wait for a client that reads slowly; later ones say more than those that do not fit.
const N_REPORTS: usize = 16;

/// Pulls a model. One that the server has is there at once, as in Ollama one that is up to date.
///
/// # Errors
/// If there is no such model, it cannot be fetched, or the body is wrong.
pub(crate) async fn pull(State(app): State<App>, body: Bytes) -> Result<Response, ApiError> {
    let body = parse(&body)?;
    let name = names::given(&app, &body)?;
    let is_stream = body.get("stream").filter(|it| !it.is_null()).map_or(Ok(true), options::flag);
    let is_stream = is_stream.map_err(|message| ApiError::invalid("stream", format!("stream: {message}")))?;
    if names::find(&app, &name).is_ok() {
        return Ok(match is_stream {
            true => lines::of(&[status("pulling manifest"), status("success")]),
            false => Json(status("success")).into_response(),
        });
    }
    let source = source(&app, &name)?;
    let permit = app.pulling().try_acquire_owned().map_err(|_| {
        let message = format!("pull '{name}': as many models as may are being pulled; retry later");
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, message)
    })?;
    let (told, mut reports) = mpsc::channel(N_REPORTS);
    tokio::task::spawn_blocking(move || {
        run(&app, &name, &*source, &told);
        drop(permit);
    });
    if is_stream {
        return Ok(lines::response(Body::from_stream(Lines { reports, begins: true })));
    }
    while let Some(report) = reports.recv().await {
        match report {
            Report::Progress(_) => {}
            Report::Done => return Ok(Json(status("success")).into_response()),
            Report::Failed(error) => return Err(error),
        }
    }
    Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "fetching the model failed"))
}

/// Where this caller may have a model from.
fn source(app: &App, name: &str) -> Result<Arc<dyn ModelSource>, ApiError> {
    if app.is_draining() {
        return Err(ApiError::draining());
    }
    if let Some(key) = Call::current().as_ref().and_then(|call| call.key()) {
        key.check_model(&[name])?;
    }
    app.config().model_source.clone().ok_or_else(|| {
        let message = format!(
            "pull '{name}': this server downloads no models; start it with --allow-pull, or with -m {name}"
        );
        ApiError::new(StatusCode::NOT_FOUND, message)
    })
}

enum Report {
    Progress(Value),
    Done,
    Failed(ApiError),
}

/// Fetches a model and adds it. Ends early if nobody waits any more.
fn run(app: &App, name: &str, source: &dyn ModelSource, told: &mpsc::Sender<Report>) {
    let mut report = |PullProgress { file, done_bytes, total_bytes }: PullProgress<'_>| {
        let line =
            json!({"status": format!("pulling {file}"), "total": total_bytes, "completed": done_bytes});
        match told.try_send(Report::Progress(line)) {
            Err(mpsc::error::TrySendError::Closed(_)) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    };
    let pulled = source.pull(name, &mut report).map_err(|error| {
        let status = match error {
            PullError::Unknown(_) => StatusCode::NOT_FOUND,
            PullError::Failed(_) => StatusCode::BAD_GATEWAY,
        };
        ApiError::new(status, format!("pull '{name}': {error}"))
    });
    let added = pulled.and_then(|spec| match app.models().add(name, spec) {
        // Somebody else has pulled it meanwhile.
        Err(_) if names::find(app, name).is_ok() => Ok(()),
        added => Ok(added?),
    });
    if let Ok(()) = &added {
        tracing::info!(model = name, "pulled");
    }
    // Without a client, nobody needs to know.
    let _ = told.blocking_send(added.map_or_else(Report::Failed, |()| Report::Done));
}

fn status(status: &str) -> Value {
    json!({ "status": status })
}

/// The reports as lines.
struct Lines {
    reports: mpsc::Receiver<Report>,
    /// Whether nothing was sent yet.
    begins: bool,
}

impl Stream for Lines {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.begins) {
            return Poll::Ready(Some(lines::line(&status("pulling manifest"))));
        }
        self.reports.poll_recv(context).map(|report| {
            Some(lines::line(&match report? {
                Report::Progress(line) => line,
                Report::Done => status("success"),
                Report::Failed(error) => Envelope::Ollama.body(&error),
            }))
        })
    }
}
