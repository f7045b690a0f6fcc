//! The sampling chain of a request, from logits to a token.

use sm_tensor::TokenId;

use super::cut::Cut;
use super::dry::{Breakers, Dry};
use super::{
    AllowedTokens, Candidates, Draw, Gumbel, History, LogitBias, LogitsFilter, OccurrencePenalty,
    RepetitionPenalty, Sampler,
};
use crate::grammar::Constraint;
use crate::{Error, MirostatOptions, SamplerKind, SamplingOptions};

/// The complete sampling chain of a request.
#[derive(Debug)]
pub struct SamplerChain {
    filters: Vec<Box<dyn LogitsFilter>>,
    /// Number of most likely tokens to gather; 0 for all.
    top_k: usize,
    cuts: Vec<Cut>,
    mirostat: Option<MirostatOptions>,
    /// Replaces the built-in sampler.
    sampler: Option<Box<dyn Sampler>>,
}

impl SamplerChain {
    /// The chain for validated options. It has no tokenizer, so [`DryOptions::sequence_breakers`] only apply to requests of an
    /// engine or a generator.
    ///
    /// [`DryOptions::sequence_breakers`]: field@crate::DryOptions::sequence_breakers
    pub fn new(options: &SamplingOptions) -> Self {
        Self::with_breakers(options, &Breakers::default())
    }

    /// As [`SamplerChain::new`], with the sequence breakers of a vocabulary.
    pub(crate) fn with_breakers(options: &SamplingOptions, breakers: &Breakers) -> Self {
        let mut filters: Vec<Box<dyn LogitsFilter>> = Vec::new();
        if let Some(tokens) = &options.allowed_tokens {
            filters.push(Box::new(AllowedTokens::new(tokens)));
        }
        if !options.logit_bias.is_empty() {
            filters.push(Box::new(LogitBias::new(&options.logit_bias)));
        }
        let mut cuts = Vec::new();
        for kind in options.order() {
            for filter in penalties(kind, options, breakers) {
                if cuts.is_empty() { filters.push(filter) } else { cuts.push(Cut::Filter(filter)) }
            }
            cuts.extend(cut(kind, options));
        }
        if options.temperature == 0.0 && !options.order().contains(&SamplerKind::Temperature) {
            cuts.push(Cut::Temperature(0.0));
        }
        let top_k = take_first_cut(&mut cuts);
        Self { filters, top_k, cuts, mirostat: options.mirostat, sampler: None }
    }

    /// Replaces the sampler, keeping all filters and cuts.
    #[must_use]
    pub fn with_sampler(mut self, sampler: Box<dyn Sampler>) -> Self {
        self.sampler = Some(sampler);
        self
    }

    /// Appends a filter, before all cuts.
    #[must_use]
    pub fn with_filter(mut self, filter: Box<dyn LogitsFilter>) -> Self {
        self.filters.push(filter);
        self
    }

    /// Whether the token is the arg-max of the model's own logits, whatever the draw: then nobody needs the others.
    pub(crate) fn is_arg_max(&self) -> bool {
        self.filters.is_empty() && self.top_k == 1 && self.cuts.is_empty() && self.mirostat.is_none()
    }

    /// How many of the first tokens in the order of the model's own logits the chain needs, if it needs no others.
    pub(crate) fn first_tokens(&self) -> Option<usize> {
        let is_cut = |cut: &Cut| !matches!(cut, Cut::Filter(_));
        let needs_no_others = self.filters.is_empty() && self.top_k > 0 && self.mirostat.is_none();
        (needs_no_others && self.cuts.iter().all(is_cut)).then_some(self.top_k)
    }

    /// As [`SamplerChain::sample`], from as many first tokens and their logits as [`SamplerChain::first_tokens`] says.
    pub(crate) fn sample_first(
        &self,
        first: &[(TokenId, f32)],
        history: &mut History<'_>,
        draw: Draw,
        candidates: &mut Candidates,
    ) -> Result<TokenId, Error> {
        candidates.take(first, draw.position as usize)?;
        self.cut_and_draw(&mut [], history, draw, candidates)
    }

    /// Samples a token. The filters modify `logits`, `[vocab_size]`.
    ///
    /// # Errors
    /// [`Error::InvalidLogits`] if a logit is not finite, [`Error::NoCandidates`] if the filters forbid every token.
    pub fn sample(
        &self,
        logits: &mut [f32],
        history: &mut History<'_>,
        draw: Draw,
        candidates: &mut Candidates,
    ) -> Result<TokenId, Error> {
        self.sample_within(None, logits, history, draw, candidates)
    }

    /// As [`SamplerChain::sample`], among the tokens that a grammar allows.
    pub(crate) fn sample_within(
        &self,
        constraint: Option<&mut Constraint>,
        logits: &mut [f32],
        history: &mut History<'_>,
        draw: Draw,
        candidates: &mut Candidates,
    ) -> Result<TokenId, Error> {
        candidates.check(logits, draw.position as usize)?;
        let changes = constraint.is_some() || !self.filters.is_empty();
        if let Some(constraint) = constraint {
            constraint.mask(logits)?;
        }
        for filter in &self.filters {
            filter.apply(logits, history);
        }
        if changes {
            candidates.look_at(logits);
        }
        candidates.gather(logits, self.top_k);
        self.cut_and_draw(logits, history, draw, candidates)
    }

    /// Draws one of the candidates, which are gathered from `logits`.
    fn cut_and_draw(
        &self,
        logits: &mut [f32],
        history: &mut History<'_>,
        draw: Draw,
        candidates: &mut Candidates,
    ) -> Result<TokenId, Error> {
        let mut temperature = 1.0;
        for cut in &self.cuts {
            temperature = cut.apply(candidates, logits, history, temperature, draw);
        }
        if let Some(options) = self.mirostat {
            candidates.keep_expected(history.mirostat().bound(options), temperature);
        }
        candidates.temperature = temperature;
        let token = match candidates.as_slice() {
            [] => return Err(Error::NoCandidates { position: draw.position as usize }),
            [only] => only.token,
            several => match &self.sampler {
                Some(sampler) => sampler.sample(several, draw),
                None => Gumbel { temperature }.sample(several, draw),
            },
        };
        if let Some(options) = self.mirostat {
            let softmax = candidates.softmax(temperature);
            let drawn = candidates.as_slice().iter().find(|candidate| candidate.token == token);
            let surprise = drawn.map_or(0.0, |drawn| softmax.surprise(drawn)) / std::f64::consts::LN_2;
            history.mirostat().observe(surprise, options);
        }
        Ok(token)
    }
}

/// The filters of a sampler.
fn penalties(
    kind: SamplerKind,
    options: &SamplingOptions,
    breakers: &Breakers,
) -> Vec<Box<dyn LogitsFilter>> {
    let mut filters: Vec<Box<dyn LogitsFilter>> = Vec::new();
    if kind == SamplerKind::Penalties && options.repetition_penalty != 1.0 {
        filters.push(Box::new(RepetitionPenalty {
            penalty: options.repetition_penalty,
            window: options.repetition_window,
        }));
    }
    if kind == SamplerKind::Penalties && (options.presence_penalty != 0.0 || options.frequency_penalty != 0.0)
    {
        filters.push(Box::new(OccurrencePenalty {
            presence: options.presence_penalty,
            frequency: options.frequency_penalty,
        }));
    }
    if kind == SamplerKind::Dry && options.dry.multiplier > 0.0 {
        filters.push(Box::new(Dry::new(&options.dry, breakers.clone())));
    }
    filters
}

/// The cut of a sampler, if it is enabled.
fn cut(kind: SamplerKind, options: &SamplingOptions) -> Option<Cut> {
    let temperature = f64::from(options.temperature);
    Some(match kind {
        SamplerKind::Temperature if options.dynamic_temperature.range > 0.0 => {
            Cut::DynamicTemperature(temperature, options.dynamic_temperature)
        }
        SamplerKind::Temperature => Cut::Temperature(temperature),
        SamplerKind::TopNSigma if options.top_n_sigma > 0.0 => Cut::TopNSigma(options.top_n_sigma),
        SamplerKind::TopK if options.top_k > 0 => Cut::TopK(options.top_k),
        SamplerKind::TypicalP if options.typical_p < 1.0 => Cut::Typical(options.typical_p),
        SamplerKind::TopP if options.top_p < 1.0 => Cut::TopP(options.top_p),
        SamplerKind::MinP if options.min_p > 0.0 => Cut::MinP(options.min_p),
        SamplerKind::Xtc if options.xtc.probability > 0.0 => Cut::Xtc(options.xtc),
        _ => return None,
    })
}

/// Removes the cuts that gathering can do by itself and returns the number of candidates to gather; 0 for all.
///
/// With temperature 0, only the most likely token is needed, unless an earlier cut could drop it. A top-k before all other cuts
/// gathers a few tokens instead of sorting all; the temperature does not change their order.
fn take_first_cut(cuts: &mut Vec<Cut>) -> usize {
    let is_greedy = |cut: &Cut| matches!(cut, Cut::Temperature(0.0));
    let n_before = cuts.iter().position(is_greedy);
    if n_before.is_some_and(|n_before| cuts[..n_before].iter().all(Cut::keeps_likeliest)) {
        cuts.clear();
        return 1;
    }
    let first = cuts.iter().position(|cut| !matches!(cut, Cut::Temperature(_)));
    match first.map(|first| (first, &cuts[first])) {
        Some((first, &Cut::TopK(k))) => {
            cuts.remove(first);
            k
        }
        _ => 0,
    }
}
