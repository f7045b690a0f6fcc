//! Answers as in the output files of OpenAI's batches.
//!
//! Ids are made from the line's number and `created` is 0, so that the same run writes the same bytes.

use std::sync::Arc;

use serde_json::{Value, json};
use sm_runtime::model::tokenizer::Tokenizer;
use sm_runtime::{Completion, ErrorKind};
use sm_server::wire::openai::{AnswerShape, ResponseHead, completion};

use super::super::recipient::{OpenAiForm, Recipient};
use super::super::refusal::Refusal;

/// The answer to a request that succeeded.
pub(in super::super) fn answered(
    recipient: &Recipient,
    form: &OpenAiForm,
    completions: &[Completion],
    tokenizer: Option<&Arc<dyn Tokenizer>>,
) -> Value {
    let OpenAiForm { endpoint, model, reading, extras } = form;
    let head = ResponseHead {
        endpoint: *endpoint,
        id: recipient.number.to_string(),
        created: 0,
        model: model.clone(),
        fingerprint: None,
        tells_of_cache: false,
    };
    let (reading, extras) = (reading.clone(), extras.clone());
    let n_choices = completions.len();
    let shape =
        AnswerShape { head, reading, extras, tokenizer: tokenizer.cloned(), n_choices, verbose: None };
    line(recipient, 200, &completion(&shape, completions))
}

/// The answer to a request that failed.
pub(in super::super) fn failed(recipient: &Recipient, refusal: &Refusal) -> Value {
    let (status, kind) = match refusal.kind {
        ErrorKind::InvalidRequest | ErrorKind::Limit => (400, "invalid_request_error"),
        ErrorKind::Overloaded => (503, "server_error"),
        ErrorKind::Timeout => (408, "server_error"),
        _ => (500, "server_error"),
    };
    let error = json!({"message": refusal.message, "type": kind, "param": null, "code": null});
    line(recipient, status, &json!({ "error": error }))
}

fn line(recipient: &Recipient, status: u16, body: &Value) -> Value {
    json!({
        "id": format!("batch_req_{}", recipient.number),
        "custom_id": recipient.id(),
        "response": {
            "status_code": status,
            "request_id": format!("req_{}", recipient.number),
            "body": body,
        },
        "error": null,
    })
}
