//! Embeddings: what a model makes of a text, as one vector.
//!
//! A request to embed runs through the same steps as all others, so texts share steps with each other and with generations. For each
//! position wanted, the step gives the hidden state behind the final norm; nothing is sampled. Which rows share a step never changes a
//! row's bits, and positions are added in order, in double precision: so a text has the same embedding whatever runs beside it, and
//! however it is divided into chunks.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::{Completion, Engine, Error, GenerationOptions, Pooling, Prompt, Request, RequestHandle};

impl Request {
    /// A request to embed a prompt instead of continuing it. [`Engine::embed`] is the easier way; [`Embedding::of_completion`] reads the
    /// result.
    pub fn embed(prompt: Prompt, pooling: Pooling) -> Self {
        // The one token is never generated.
        let options = GenerationOptions::greedy().max_new_tokens(1);
        Self { pooling: Some(pooling), ..Self::new(prompt, options) }
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

    /// The result of a [`Request::embed`]. Of any other request it is empty.
    pub fn of_completion(completion: Completion) -> Self {
        let usage = completion.usage;
        Self {
            values: completion.embedding,
            n_tokens: usage.prompt_tokens,
            cached_tokens: usage.cached_tokens,
        }
    }

    fn of(mut completions: Vec<Completion>) -> Result<Self, Error> {
        completions.pop().map(Self::of_completion).ok_or(Error::Cancelled)
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
        self.submit(Request::embed(prompt, pooling)).map(EmbedHandle::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalized_embeddings_have_the_length_1() {
        let embedding = Embedding { values: vec![3.0, 4.0], n_tokens: 8, cached_tokens: 0 };
        assert_eq!(embedding.normalized(None), [0.6, 0.8]);
        assert_eq!(embedding.normalized(Some(1)), [1.0]);
    }
}
