//! Several models in one process: loaded on demand, unloaded when others need the memory.
//!
//! ```text
//! acquire ──► Unloaded ── plan, reserve memory ──► Loading ──► Ready ──► Unloading ──► Unloaded
//!                             │                      │           │            ▲
//!                             │ evicts the idle      │ all who   │ handles    │ evicted while idle,
//!                             │ models used longest  │ ask wait  │ in use     │ or drained by unload
//!                             │ ago                  │ for it    │            │
//! ```
//!
//! Memory for a model's weights and executor is reserved before it is loaded. A model in use is never evicted; if the
//! remaining budget is insufficient, the request fails and can be retried.

mod handle;
mod registry;
mod spec;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

pub use handle::{AcquireModel, ModelHandle};
pub use registry::{ModelInfo, ModelState};
pub use spec::ModelSpec;

use crate::{Engine, Error};
use registry::Registry;

/// Loads and unloads models by name within a memory budget.
///
/// ```
/// # #[cfg(all(feature = "cpu", feature = "demo-model"))] {
/// use std::time::Duration;
///
/// use sm_runtime::{EngineConfig, ExecutorOptions, GenerationOptions, ModelRef, ModelSpec, Models};
///
/// let models = Models::new(256 << 20);
/// let config = EngineConfig::new().executor(ExecutorOptions::new().pool_bytes(64 << 20));
/// models.add("demo", ModelSpec::new(ModelRef::Demo).config(config.clone()).alias("default"))?;
/// models.add("small", ModelSpec::new(ModelRef::DemoDraft).config(config))?;
///
/// let model = models.get("default")?; // loads it
/// println!("{}", model.generate("Once upon a time".into(), &GenerationOptions::default())?.text);
/// drop(model); // may now be unloaded if another model needs the memory
/// models.shut_down(Duration::from_secs(1));
/// # }
/// # Ok::<(), sm_runtime::Error>(())
/// ```
///
/// The KV cache is often the larger part of a model's memory: 1 GiB unless the [`EngineConfig`](crate::EngineConfig) says
/// otherwise. Size it so that the models you want loaded together fit the budget. A pool larger than the whole budget is
/// shrunk to fit.
///
/// Clones refer to the same models. Engines end with the last clone and the last handle.
#[derive(Clone, Debug)]
pub struct Models(Arc<Registry>);

impl Models {
    /// An empty registry. Loaded models take at most `memory_bytes` together: weights, KV cache, activations and scratch.
    pub fn new(memory_bytes: u64) -> Self {
        Self(Arc::new(Registry::new(memory_bytes)))
    }

    /// Adds a model, to be loaded on first use.
    ///
    /// # Errors
    /// If the name or an alias is blank or already taken.
    pub fn add(&self, name: &str, spec: ModelSpec) -> Result<(), Error> {
        let aliases = spec.aliases.clone();
        self.0.add(name, aliases, Arc::new(spec))
    }

    /// Unloads a model as [`Models::unload`] does, and removes it.
    ///
    /// # Errors
    /// [`Error::UnknownModel`].
    pub fn remove(&self, name: &str, grace: Duration) -> Result<(), Error> {
        Registry::remove(&self.0, name, grace)
    }

    /// The engine of a model, by name or alias. Loads the model if necessary. Blocks; [`Models::acquire`] does not.
    ///
    /// # Errors
    /// [`Error::UnknownModel`], [`Error::ModelLoad`]; [`Error::ModelsInUse`] if the budget is insufficient and no loaded
    /// model is idle; [`Error::ShutDown`].
    pub fn get(&self, name: &str) -> Result<ModelHandle, Error> {
        self.acquire(name)?.wait()
    }

    /// A future of a model's engine. If the model is not loaded, starts loading it on a new thread; concurrent callers wait
    /// for the same load and share its error if it fails.
    ///
    /// # Errors
    /// [`Error::UnknownModel`], [`Error::ShutDown`]. The future has the errors of [`Models::get`].
    pub fn acquire(&self, name: &str) -> Result<AcquireModel, Error> {
        let (model_use, outcome) = Registry::acquire(&self.0, name)?;
        Ok(AcquireModel { outcome, model_use: Some(model_use) })
    }

    /// Unloads a model, if loaded. Existing handles and requests have `grace` to finish; then requests are cut off. Callers
    /// that acquire the model in the meantime get it reloaded afterwards. Blocks; do not call from an engine's callbacks,
    /// which belong to requests in use.
    ///
    /// # Errors
    /// [`Error::UnknownModel`].
    pub fn unload(&self, name: &str, grace: Duration) -> Result<(), Error> {
        Registry::unload(&self.0, name, grace)
    }

    /// Unloads a model that nobody uses, and says whether it did. Unlike [`Models::unload`] it neither waits for a use nor cuts one
    /// off. Blocks until the engine has ended.
    ///
    /// # Errors
    /// [`Error::UnknownModel`].
    pub fn unload_idle(&self, name: &str) -> Result<bool, Error> {
        Registry::unload_idle(&self.0, name)
    }

    /// The loaded models, sorted by name, with their engines. Unlike a [`ModelHandle`], an engine does not keep its model loaded.
    pub fn loaded(&self) -> Vec<(String, Engine)> {
        self.0.engines()
    }

    /// All models, sorted by name.
    pub fn list(&self) -> Vec<ModelInfo> {
        self.0.list()
    }

    /// Bytes of the budget in use, including models being loaded or unloaded.
    pub fn used_bytes(&self) -> u64 {
        self.0.used_bytes()
    }

    /// Frees all cached pages that no request holds, in all loaded models, as
    /// [`Engine::trim_memory`](crate::Engine::trim_memory) does. Returns the bytes of pages still in use.
    ///
    /// # Errors
    /// If an executor fails.
    pub fn trim_memory(&self) -> Result<u64, Error> {
        let mut held_bytes = 0;
        for (_, engine) in self.0.engines() {
            held_bytes += match engine.trim_memory(0) {
                // Unloaded in the meantime.
                Err(Error::ShutDown) => 0,
                trimmed => trimmed?,
            };
        }
        Ok(held_bytes)
    }

    /// Shuts down all engines, as [`Engine::shut_down`](crate::Engine::shut_down) does, with one grace period for all, and
    /// cancels loads. All later calls fail with [`Error::ShutDown`].
    pub fn shut_down(&self, grace: Duration) {
        Registry::shut_down(&self.0, grace);
    }
}
