//! From a problem to a prompt.

use axum::http::HeaderMap;
use axum::response::Response;
use sm_runtime::{ChatRequest, ModelHandle, Prompt};

use super::respond::Job;
use crate::app::App;
use crate::error::ApiError;
use crate::wire::documents::Task;

pub(super) async fn solve(
    task: Task,
    app: &App,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, ApiError> {
    let job = Job::read(task, headers, body)?;
    let model = app.model(job.call.model.as_deref()).await?;
    let prompt = prompt(&job, &model)?;
    job.run(app, model, prompt).await
}

/// The problem as a chat if the model has a template, else as a text to be continued.
///
/// The instruction is a system message, which leaves the problem as it was asked. Some templates have none and refuse it: there it
/// precedes the problem.
///
/// # Errors
/// If variables are set for a template that the model does not have.
fn prompt(job: &Job, model: &ModelHandle) -> Result<Prompt, ApiError> {
    let problem = &job.call.text;
    let instruction = job.task.instruction().unwrap_or_default();
    let both = format!("{instruction}\n\n{problem}");
    if model.chat_template().is_err() {
        return match job.call.variables.keys().next() {
            None => Ok(Prompt::Text(format!("{both}\n\nSolution:\n"))),
            Some(name) => {
                let message = format!("{name} is set for a chat template, which this model does not have");
                Err(ApiError::invalid("chat_template_kwargs", message))
            }
        };
    }
    let start = ChatRequest::new();
    let start =
        job.call.variables.iter().fold(start, |chat, (name, value)| chat.variable(name, value.clone()));
    let with_system = start.clone().system(instruction);
    // Whether a template has system messages does not depend on the problem, so it is asked with a short one.
    let takes_system =
        model.model().render(&with_system.clone().user("?")).is_ok_and(|text| text.contains(instruction));
    Ok(if takes_system { with_system.user(problem).into() } else { start.user(&both).into() })
}
