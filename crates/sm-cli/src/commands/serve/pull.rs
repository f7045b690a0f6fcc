//! Where models come from that clients pull: files of this machine, and the hub.

use std::ops::ControlFlow;
use std::path::Path;

use sm_hub::{Hub, HubError, HubRef, HubSettings};
use sm_runtime::{ModelRef, ModelSpec};
use sm_server::{LoadProgress, Metrics, ModelSource, PullError, PullProgress};

/// Finds or fetches models, which get the settings of the first one.
#[derive(Debug)]
pub(super) struct Pulls {
    pub(super) settings: HubSettings,
    pub(super) spec: ModelSpec,
    pub(super) metrics: Metrics,
    pub(super) loading: LoadProgress,
}

type Report<'a> = dyn FnMut(PullProgress<'_>) -> ControlFlow<()> + 'a;

impl Pulls {
    fn find(&self, name: &str, report: &mut Report<'_>) -> Result<ModelRef, PullError> {
        if Path::new(name).exists() {
            return Ok(ModelRef::Path(name.into()));
        }
        let reference: HubRef = name
            .parse()
            .map_err(|error| PullError::Unknown(format!("{error}; or the path of a model here")))?;
        // Each pull has a hub of its own, so that the end of one is not the end of others.
        let hub = Hub::new(self.settings.clone());
        if let Ok(model) = hub.find(&reference) {
            return Ok(ModelRef::Path(model.path));
        }
        let plan = hub.plan(&reference).map_err(|error| refused(&error))?;
        let model = hub.pull(&plan, &mut |progress| {
            let progress = PullProgress {
                file: progress.file,
                done_bytes: progress.done_bytes,
                total_bytes: progress.total_bytes,
            };
            if report(progress).is_break() {
                hub.cancel().cancel();
            }
        });
        Ok(ModelRef::Path(model.map_err(|error| refused(&error))?.path))
    }
}

impl ModelSource for Pulls {
    fn pull(&self, name: &str, report: &mut Report<'_>) -> Result<ModelSpec, PullError> {
        let model = self.find(name, report)?;
        let spec = self.spec.clone().of(model).metrics(self.metrics.sink(name));
        Ok(spec.progress(self.loading.reporter(name)))
    }
}

fn refused(error: &HubError) -> PullError {
    let text = error.to_string();
    match error {
        HubError::NoRepository { .. }
        | HubError::NoRevision { .. }
        | HubError::NoModel { .. }
        | HubError::NoSuchFile { .. } => PullError::Unknown(text),
        _ => PullError::Failed(text),
    }
}
