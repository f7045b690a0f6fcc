//! Replaces grammars in builds without the feature `grammar`.

use sm_tensor::TokenId;

use super::{Grammar, GrammarLimits, WhiteSpace};
use crate::Error;
use crate::text::Text;

/// Always fails to compile.
#[derive(Clone, Debug, Default)]
pub(crate) struct Grammars(());

/// Uninhabited.
#[derive(Clone, Debug)]
pub(crate) enum Constraint {}

impl Grammars {
    pub(crate) fn with_limits(self, _limits: GrammarLimits) -> Self {
        self
    }

    #[expect(clippy::unused_self, reason = "same signature as the real one, which uses it")]
    pub(crate) fn compile(
        &self,
        _grammar: &Grammar,
        _white_space: WhiteSpace,
        _text: &Text,
    ) -> Result<Constraint, Error> {
        let message = "this build has no structured output; enable the feature `grammar`";
        Err(Error::Grammar { message: message.to_owned() })
    }
}

impl Constraint {
    pub(crate) fn mask(&mut self, _logits: &mut [f32]) -> Result<(), Error> {
        match *self {}
    }

    pub(crate) fn push(&mut self, _token: TokenId) -> Result<bool, Error> {
        match *self {}
    }
}
