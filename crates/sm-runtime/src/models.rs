//! Several models in one process, under one budget of memory.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sm_cache::ByteSize;

use crate::engine::deadline;
use crate::load::weight_bytes;
use crate::{
    Engine, EngineConfig, Error, LoadError, MemoryBound, ModelRef, Request, RequestHandle, TokenStream,
};

/// Engines by name: each has a model, a queue, and its share of a common budget of memory.
///
/// ```no_run
/// use sm_runtime::{EngineConfig, ModelRef, Models};
///
/// # fn main() -> Result<(), sm_runtime::Error> {
/// let models = Models::builder(2 << 30)
///     .add("demo", ModelRef::Demo, EngineConfig::default(), 3)
///     .add("small", ModelRef::DemoDraft, EngineConfig::default(), 1)
///     .load()?;
/// println!("{:?}", models.names().collect::<Vec<_>>());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Models(BTreeMap<String, Engine>);

/// Which models there shall be.
#[derive(Debug)]
pub struct ModelsBuilder<'m> {
    memory_bytes: u64,
    entries: Vec<Entry<'m>>,
}

#[derive(Debug)]
struct Entry<'m> {
    name: String,
    model: ModelRef<'m>,
    config: EngineConfig,
    share: u32,
}

impl Models {
    /// Models that take at most `memory_bytes` together: weights, keys and values, activations and scratch.
    pub fn builder<'m>(memory_bytes: u64) -> ModelsBuilder<'m> {
        ModelsBuilder { memory_bytes, entries: Vec::new() }
    }

    /// The names, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The engine of a model.
    ///
    /// # Errors
    /// [`Error::UnknownModel`].
    pub fn get(&self, name: &str) -> Result<&Engine, Error> {
        self.0.get(name).ok_or_else(|| Error::UnknownModel {
            name: name.to_owned(),
            known: self.names().collect::<Vec<_>>().join(", "),
        })
    }

    /// Puts a request into the queue of a model.
    ///
    /// # Errors
    /// [`Error::UnknownModel`]; as [`Engine::submit`].
    pub fn submit(&self, name: &str, request: Request) -> Result<RequestHandle, Error> {
        self.get(name)?.submit(request)
    }

    /// As [`Models::submit`]; the stream gives the tokens as they come.
    ///
    /// # Errors
    /// As [`Models::submit`].
    pub fn stream(&self, name: &str, request: Request) -> Result<TokenStream, Error> {
        self.get(name)?.stream(request)
    }

    /// As [`Engine::trim_memory`] of all engines, to what their requests hold. Gives the bytes that are still held.
    ///
    /// # Errors
    /// [`Error::ShutDown`].
    pub fn trim_memory(&self) -> Result<u64, Error> {
        self.0.values().map(|engine| engine.trim_memory(0)).sum()
    }

    /// As [`Engine::shut_down`], for all of them: the grace is one for all.
    pub fn shut_down(&self, grace: Duration) {
        let until = deadline(grace);
        self.0.values().for_each(|engine| engine.drain(until));
        for engine in self.0.values() {
            engine.shut_down(until.saturating_duration_since(Instant::now()));
        }
    }
}

impl<'m> ModelsBuilder<'m> {
    /// Adds a model. What the weights of all leave of the budget is divided by the models' shares; the configuration may
    /// allow it less.
    #[must_use]
    pub fn add(
        mut self,
        name: &str,
        model: impl Into<ModelRef<'m>>,
        config: EngineConfig,
        share: u32,
    ) -> Self {
        self.entries.push(Entry { name: name.to_owned(), model: model.into(), config, share });
        self
    }

    /// Loads all models and starts their engines.
    ///
    /// # Errors
    /// If a model cannot be loaded, a name is used twice, a share is 0, or the weights alone exceed the budget.
    pub fn load(self) -> Result<Models, Error> {
        let mut n_bytes = 0;
        for entry in &self.entries {
            if entry.share == 0 {
                return Err(Error::validation(
                    "share",
                    format!("that of {} is 0; it must be at least 1", entry.name),
                ));
            }
            n_bytes += weight_bytes(entry.model, &entry.config.load_options(false))?;
        }
        let Some(pool_bytes) = self.memory_bytes.checked_sub(n_bytes) else {
            let (needed, limit) = (ByteSize(n_bytes), ByteSize(self.memory_bytes));
            let (what, bound) = ("the weights of all models".to_owned(), MemoryBound::Configured);
            return Err(LoadError::InsufficientMemory { what, needed, limit, bound }.into());
        };
        let n_shares: u64 = self.entries.iter().map(|entry| u64::from(entry.share)).sum();
        let mut engines = BTreeMap::new();
        for Entry { name, model, mut config, share } in self.entries {
            let share_bytes = u128::from(pool_bytes) * u128::from(share) / u128::from(n_shares);
            let pool_bytes = config.load.pool_bytes.unwrap_or(u64::MAX).min(share_bytes as u64);
            config.load.pool_bytes = Some(pool_bytes);
            let engine = Engine::builder().config(config).load(model)?;
            if engines.insert(name.clone(), engine).is_some() {
                return Err(Error::validation("name", format!("two models are called {name}; rename one")));
            }
        }
        Ok(Models(engines))
    }
}

#[cfg(all(test, feature = "demo-model"))]
mod tests {
    use super::*;
    use crate::{GenerationOptions, Generator, LoadOptions, LoadedModel, Prompt, SamplingOptions};

    fn models(memory_bytes: u64) -> Result<Models, Error> {
        Models::builder(memory_bytes)
            .add("demo", ModelRef::Demo, EngineConfig::default(), 3)
            .add("small", ModelRef::DemoDraft, EngineConfig::default(), 1)
            .load()
    }

    fn request() -> Request {
        let sampling = SamplingOptions { seed: Some(5), ..SamplingOptions::default() };
        let options = GenerationOptions { sampling, ..GenerationOptions::default() };
        Request::new(Prompt::Text("Once upon a time".into()), options)
    }

    #[test]
    fn each_model_answers_for_itself_within_its_share() {
        let models = models(64 << 20).unwrap();
        assert_eq!(models.names().collect::<Vec<_>>(), ["demo", "small"]);
        let handles = ["demo", "small", "demo"].map(|name| models.submit(name, request()).unwrap());
        let texts = handles.map(|handle| handle.wait().unwrap().swap_remove(0).text);
        for (index, model) in [(0, ModelRef::Demo), (1, ModelRef::DemoDraft), (2, ModelRef::Demo)] {
            let loaded = LoadedModel::load(model, &LoadOptions::default(), &|_| ()).unwrap();
            let Request { prompt, options, .. } = request();
            assert_eq!(texts[index], Generator::new(loaded).generate(&prompt, &options).unwrap().text);
        }
        let bytes = |name| {
            let info = models.get(name).unwrap().info();
            info.kv_bytes + info.weight_bytes + info.activation_bytes
        };
        let n_bytes = bytes("demo") + bytes("small");
        assert!(n_bytes <= 64 << 20, "{n_bytes}");
        assert!(
            models.get("demo").unwrap().info().kv_bytes > 2 * models.get("small").unwrap().info().kv_bytes
        );
        models.trim_memory().unwrap();
        models.shut_down(Duration::ZERO);
        assert!(matches!(models.submit("demo", request()), Err(Error::ShutDown)));
    }

    #[test]
    fn what_cannot_be_is_refused_with_numbers() {
        let known = models(64 << 20).unwrap().get("large").unwrap_err().to_string();
        assert_eq!(known, "there is no model \"large\"; there are demo, small");
        match models(1 << 20) {
            Err(Error::Load(LoadError::InsufficientMemory { what, limit, .. })) => {
                assert_eq!((what.as_str(), limit), ("the weights of all models", ByteSize(1 << 20)));
            }
            other => panic!("{other:?}"),
        }
        let twice = Models::builder(64 << 20)
            .add("a", ModelRef::DemoDraft, EngineConfig::default(), 1)
            .add("a", ModelRef::DemoDraft, EngineConfig::default(), 1)
            .load();
        assert!(matches!(twice, Err(Error::Validation { field: "name", .. })));
    }
}
