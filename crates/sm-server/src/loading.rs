//! How far the loading of models is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sm_runtime::Progress;

/// How far the loading of each model is. Clones share it.
///
/// ```
/// use sm_runtime::{ModelRef, ModelSpec};
/// use sm_server::{LoadProgress, ServerConfig};
///
/// let loading = LoadProgress::default();
/// let spec = ModelSpec::new(ModelRef::Demo).progress(loading.reporter("demo"));
/// let config = ServerConfig::new("demo").loading(loading);
/// ```
#[derive(Clone, Debug, Default)]
pub struct LoadProgress(Arc<Mutex<HashMap<String, Progress>>>);

impl LoadProgress {
    /// What reports the loading of a model: the argument of [`ModelSpec::progress`](sm_runtime::ModelSpec::progress).
    pub fn reporter(&self, model: &str) -> impl Fn(Progress) + Send + Sync + use<> {
        let model = model.to_owned();
        let loading = self.clone();
        move |progress| {
            let mut loading = loading.0.lock().unwrap_or_else(PoisonError::into_inner);
            match loading.get_mut(&model) {
                Some(known) => *known = progress,
                None => _ = loading.insert(model.clone(), progress),
            }
        }
    }

    /// The share of a model that is loaded, from 0 to 1; `None` if nothing is known.
    pub(crate) fn share(&self, model: &str) -> Option<f64> {
        let loading = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Progress { done_bytes, total_bytes, .. } = *loading.get(model)?;
        Some(done_bytes as f64 / total_bytes.max(1) as f64)
    }
}
