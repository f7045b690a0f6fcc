//! Embeddings: what a model makes of a text, as one vector.
//!
//! A request to embed runs through the same steps as all others, so texts share steps with each other and with generations. For each
//! position wanted, the step gives the hidden state behind the final norm; nothing is sampled. Which rows share a step never changes a
//! row's bits, and positions are added in order, in double precision: so a text has the same embedding whatever runs beside it, and
//! however it is divided into chunks.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use sm_batching::PromptOutputs;

use crate::{Completion, Engine, Error, GenerationOptions, Prompt, Request, RequestHandle};

/// How the hidden states of a text become one vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Pooling {
    /// The mean over all positions.
    #[default]
    Mean,
    /// That of the last position, which has seen the whole text. What others have computed of the text need not be computed again.
    Last,
}

impl Pooling {
    /// The request that embeds a prompt.
    pub(crate) fn request(self, prompt: Prompt) -> Request {
        // The one token is never generated.
        let mut request = Request::new(prompt, GenerationOptions::greedy().max_new_tokens(1));
        request.pooling = Some(self);
        request
    }
}

/// The embedding of a text.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Embedding {
    /// `[hidden_size]`, as the model gives it: of any length.
    pub values: Vec<f32>,
    /// Tokens of the text, with the marks of the tokenizer.
    pub n_tokens: usize,
    /// Those whose keys and values were already cached.
    pub cached_tokens: usize,
}

impl Embedding {
    /// The first `dimensions` values, or all, as a vector of length 1. Cutting a vector off keeps most of its meaning only if the
    /// model was trained for it.
    pub fn normalized(&self, dimensions: Option<usize>) -> Vec<f32> {
        let n_values = dimensions.map_or(self.values.len(), |n| n.min(self.values.len()));
        let values = &self.values[..n_values];
        let length = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        // A vector of zeros has no direction.
        let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
        values.iter().map(|value| (f64::from(*value) * scale) as f32).collect()
    }

    fn of(mut completions: Vec<Completion>) -> Result<Self, Error> {
        let completion = completions.pop().ok_or(Error::Cancelled)?;
        let usage = completion.usage;
        Ok(Self {
            values: completion.embedding,
            n_tokens: usage.prompt_tokens,
            cached_tokens: usage.cached_tokens,
        })
    }
}

/// A text being embedded: a future of its embedding. Dropping it cancels the request.
#[derive(Debug)]
#[must_use = "dropping a handle cancels its request"]
pub struct EmbedHandle(RequestHandle);

impl EmbedHandle {
    pub(crate) fn new(handle: RequestHandle) -> Self {
        Self(handle)
    }

    /// Blocks until the text is embedded.
    ///
    /// # Errors
    /// As [`RequestHandle::wait`].
    pub fn wait(self) -> Result<Embedding, Error> {
        Embedding::of(self.0.wait()?)
    }
}

impl Future for EmbedHandle {
    type Output = Result<Embedding, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(Pin::new(&mut self.0).poll(context)).and_then(Embedding::of))
    }
}

impl Engine {
    /// Queues a text to be embedded.
    ///
    /// ```
    /// # #[cfg(all(feature = "cpu", feature = "demo-model"))] {
    /// use sm_runtime::{Engine, ModelRef, Pooling};
    ///
    /// let engine = Engine::builder().load(ModelRef::Demo)?;
    /// let embed = |text: &str| engine.embed(text.into(), Pooling::Mean);
    /// let embeddings = [embed("Once upon a time")?, embed("In a distant galaxy")?];
    /// for embedding in embeddings {
    ///     assert_eq!(embedding.wait()?.values.len(), 256);
    /// }
    /// # }
    /// # Ok::<(), sm_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Engine::submit`].
    pub fn embed(&self, prompt: Prompt, pooling: Pooling) -> Result<EmbedHandle, Error> {
        self.submit(pooling.request(prompt)).map(EmbedHandle::new)
    }
}

/// Collects hidden states.
#[derive(Debug)]
pub(crate) struct Pool {
    pooling: Pooling,
    sum: Vec<f64>,
    n_positions: usize,
}

impl Pool {
    pub(crate) fn new(pooling: Pooling) -> Self {
        Self { pooling, sum: Vec::new(), n_positions: 0 }
    }

    /// What it needs of the prompt.
    pub(crate) fn wanted(&self) -> PromptOutputs {
        match self.pooling {
            Pooling::Mean => PromptOutputs::Hidden,
            Pooling::Last => PromptOutputs::LastHidden,
        }
    }

    /// Adds the hidden state of a position. After a failed step a position may come again.
    pub(crate) fn add(&mut self, position: usize, hidden: &[f32]) {
        let is_next = self.pooling == Pooling::Last || position == self.n_positions;
        if !is_next {
            return;
        }
        self.sum.resize(hidden.len(), 0.0);
        self.sum.iter_mut().zip(hidden).for_each(|(sum, value)| *sum += f64::from(*value));
        self.n_positions += 1;
    }

    pub(crate) fn finish(self) -> Vec<f32> {
        let scale = 1.0 / self.n_positions.max(1) as f64;
        self.sum.into_iter().map(|sum| (sum * scale) as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_added_once_and_in_order() {
        let mut mean = Pool::new(Pooling::Mean);
        for (position, hidden) in [(0, [1.0, 2.0]), (1, [3.0, 6.0]), (1, [9.0, 9.0])] {
            mean.add(position, &hidden);
        }
        assert_eq!(mean.finish(), [2.0, 4.0]);
        let mut last = Pool::new(Pooling::Last);
        last.add(7, &[3.0, 4.0]);
        let embedding = Embedding { values: last.finish(), n_tokens: 8, cached_tokens: 0 };
        assert_eq!(embedding.values, [3.0, 4.0]);
        assert_eq!(embedding.normalized(None), [0.6, 0.8]);
        assert_eq!(embedding.normalized(Some(1)), [1.0]);
    }
}
