//! `POST /generate` and `POST /generate/stream`

use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use sm_runtime::Prompt;

use super::respond::Job;
use super::stream::StreamForm;
use crate::app::App;
use crate::error::ApiError;
use crate::wire::documents::Task;

/// Continues a prompt: at once, or as the stream that the client asks for.
///
/// # Errors
/// If the body is wrong, or the request fails before the answer begins.
pub(crate) async fn generate(
    State(app): State<App>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    run(&app, Job::read(Task::Generate, &headers, &body)?).await
}

/// Continues a prompt as a stream: of JSON lines, unless the client accepts events.
///
/// # Errors
/// As [`generate`].
pub(crate) async fn stream(
    State(app): State<App>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let mut job = Job::read(Task::Generate, &headers, &body)?;
    if job.form != Some(StreamForm::Events) {
        job.form = Some(StreamForm::Lines);
    }
    run(&app, job).await
}

async fn run(app: &App, job: Job) -> Result<Response, ApiError> {
    let model = app.model(job.call.model.as_deref()).await?;
    let prompt = Prompt::Text(job.call.text.clone());
    job.run(app, model, prompt).await
}
