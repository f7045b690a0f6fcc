//! What becomes of a model after a request.

use std::time::Duration;

use crate::expiry::Expiries;
use crate::wire::ollama::KeepAlive;

/// Applies a request's wish when it is dropped, that is when the request is over, however it ends.
#[derive(Debug)]
pub(super) struct AfterUse {
    expiries: Expiries,
    model: String,
    wish: Option<KeepAlive>,
}

impl AfterUse {
    pub(super) fn new(expiries: Expiries, model: &str, wish: Option<KeepAlive>) -> Self {
        Self { expiries, model: model.to_owned(), wish }
    }

    /// Whether the model is unloaded at once. A pinned one is not.
    pub(super) fn unloads(&self) -> bool {
        self.wish == Some(KeepAlive::For(Duration::ZERO)) && !self.expiries.is_pinned(&self.model)
    }
}

impl Drop for AfterUse {
    fn drop(&mut self) {
        match self.wish {
            None => {}
            Some(KeepAlive::Forever) => self.expiries.keep(&self.model),
            Some(KeepAlive::For(time)) => self.expiries.unload_after(&self.model, time),
        }
    }
}
