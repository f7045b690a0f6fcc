//! Measurements of engines, under one or two sets of names.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus::{
    CounterVec, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry,
};
use sm_runtime::{Engine, EngineStats, MetricsSink, RecentMetrics, RequestMetrics, StepMetrics};

use super::llamacpp::LlamaCpp;
use super::names::{Count, Measure, Names, Reading};

/// The families of one set of names.
#[derive(Debug)]
pub(super) struct Families {
    names: &'static Names,
    measures: Vec<(Measure, HistogramVec)>,
    counts: Vec<(Count, IntCounterVec)>,
    finished: IntCounterVec,
}

fn opts(names: &Names, name: &str, help: &str) -> Opts {
    let fixed = names.fixed_label.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned()));
    Opts::new(name, help).const_labels(fixed.collect::<HashMap<_, _>>())
}

impl Families {
    pub(super) fn new(names: &'static Names, registry: &Registry) -> Result<Self, prometheus::Error> {
        let label = [names.model_label];
        let mut measures = Vec::new();
        for (measure, name, help) in names.measures {
            let opts = HistogramOpts::from(opts(names, name, help)).buckets(measure.buckets());
            let family = HistogramVec::new(opts, &label)?;
            registry.register(Box::new(family.clone()))?;
            measures.push((*measure, family));
        }
        let mut counts = Vec::new();
        for (count, name, help) in names.counts {
            let family = IntCounterVec::new(opts(names, name, help), &label)?;
            registry.register(Box::new(family.clone()))?;
            counts.push((*count, family));
        }
        let (name, reason, help) = names.finished;
        let finished = IntCounterVec::new(opts(names, name, help), &[names.model_label, reason])?;
        registry.register(Box::new(finished.clone()))?;
        Ok(Self { names, measures, counts, finished })
    }

    /// What loaded engines tell now.
    pub(super) fn read(
        &self,
        engines: &[(String, Engine)],
        registry: &Registry,
    ) -> Result<(), prometheus::Error> {
        let names = self.names;
        for (reading, name, help) in names.readings {
            let opts = opts(names, name, help);
            let label = [names.model_label];
            match reading.is_counter() {
                true => {
                    let family = CounterVec::new(opts, &label)?;
                    registry.register(Box::new(family.clone()))?;
                    for (model, engine) in engines {
                        family.with_label_values(&[model]).inc_by(value(*reading, &engine.stats()));
                    }
                }
                false => {
                    let family = GaugeVec::new(opts, &label)?;
                    registry.register(Box::new(family.clone()))?;
                    for (model, engine) in engines {
                        family.with_label_values(&[model]).set(value(*reading, &engine.stats()));
                    }
                }
            }
        }
        let opts = opts(names, names.cache_config, "The size and number of the KV cache's pages");
        let family = GaugeVec::new(opts, &[names.model_label, "block_size", "num_gpu_blocks"])?;
        registry.register(Box::new(family.clone()))?;
        for (model, engine) in engines {
            let page_len = engine.memory_plan(0, 0).pool.page_len.to_string();
            let n_pages = engine.stats().cache.n_pages.to_string();
            family.with_label_values(&[model.as_str(), &page_len, &n_pages]).set(1.0);
        }
        names.memory.map_or(Ok(()), |name| self.read_memory(name, engines, registry))
    }

    /// What loaded engines take of their devices' memory.
    fn read_memory(
        &self,
        name: &'static str,
        engines: &[(String, Engine)],
        registry: &Registry,
    ) -> Result<(), prometheus::Error> {
        let opts = opts(self.names, name, "Memory that the model takes on its device");
        let family = GaugeVec::new(opts, &[self.names.model_label, "device", "part"])?;
        registry.register(Box::new(family.clone()))?;
        for (model, engine) in engines {
            let info = engine.info();
            let parts = [
                ("weights", info.weight_bytes),
                ("kv_cache", info.kv_bytes),
                ("activations", info.activation_bytes),
            ];
            for (part, n_bytes) in parts {
                let labels = [model.as_str(), info.kernels.as_str(), part];
                family.with_label_values(&labels).set(n_bytes as f64);
            }
        }
        Ok(())
    }
}

fn value(reading: Reading, stats: &EngineStats) -> f64 {
    let cache = &stats.cache;
    let counter = match reading {
        Reading::KvUsage => return cache.pinned_pages as f64 / cache.n_pages.max(1) as f64,
        Reading::Running => stats.running as u64,
        Reading::Waiting => stats.waiting as u64,
        Reading::PrefixQueries => cache.reused_tokens + cache.computed_tokens,
        Reading::PrefixHits => cache.reused_tokens,
        Reading::Preemptions => stats.batching.preempted,
        Reading::RecomputedTokens => stats.batching.recomputed_tokens,
        Reading::DraftChecks => stats.speculation.checks,
        Reading::DraftTokens => stats.speculation.drafted,
        Reading::AcceptedTokens => stats.speculation.accepted,
        Reading::Steps => stats.batching.steps,
        Reading::LostEvents => stats.lost_events,
    };
    counter as f64
}

/// Takes the measurements of one model's engine. Its counters are found beforehand: a step only adds to them.
#[derive(Debug)]
pub(super) struct Sink {
    model: String,
    measures: Vec<(Measure, Histogram)>,
    counts: Vec<(Count, IntCounter)>,
    finished: Vec<(&'static Names, IntCounterVec)>,
    llamacpp: Option<Arc<LlamaCpp>>,
    recent: Arc<RecentMetrics>,
}

impl Sink {
    pub(super) fn new(
        model: &str,
        families: &[Families],
        llamacpp: Option<Arc<LlamaCpp>>,
        recent: &Arc<RecentMetrics>,
    ) -> Self {
        let measures = families.iter().flat_map(|families| &families.measures);
        let counts = families.iter().flat_map(|families| &families.counts);
        Self {
            model: model.to_owned(),
            llamacpp,
            recent: Arc::clone(recent),
            measures: measures.map(|(what, family)| (*what, family.with_label_values(&[model]))).collect(),
            counts: counts.map(|(what, family)| (*what, family.with_label_values(&[model]))).collect(),
            finished: families.iter().map(|families| (families.names, families.finished.clone())).collect(),
        }
    }

    fn observe(&self, measure: Measure, value: f64) {
        let known = self.measures.iter().filter(|(known, _)| *known == measure);
        known.for_each(|(_, histogram)| histogram.observe(value));
    }

    fn count(&self, count: Count, n: u64) {
        let known = self.counts.iter().filter(|(known, _)| *known == count);
        known.for_each(|(_, counter)| counter.inc_by(n));
    }
}

impl MetricsSink for Sink {
    fn step(&self, step: &StepMetrics) {
        self.recent.step(step);
        if let Some(llamacpp) = &self.llamacpp {
            llamacpp.step(step);
        }
        self.observe(Measure::StepRows, step.rows as f64);
        self.count(Count::Generated, step.tokens);
        for _ in 0..step.tokens {
            self.observe(Measure::InterToken, step.time.as_secs_f64());
        }
    }

    fn request(&self, request: &RequestMetrics) {
        self.recent.request(request);
        if let Some(llamacpp) = &self.llamacpp {
            llamacpp.request(request);
        }
        let phase = |from: Option<Duration>, to: Option<Duration>| Some(to?.saturating_sub(from?));
        let RequestMetrics { queue, first_token, inter_token, total, usage, finish_reason, .. } = *request;
        for (measure, time) in [
            (Measure::FirstToken, first_token),
            (Measure::PerToken, inter_token),
            (Measure::Queue, queue),
            (Measure::Prefill, phase(queue, first_token)),
            (Measure::Decode, phase(first_token, Some(total))),
            (Measure::Total, Some(total)),
        ] {
            if let Some(time) = time {
                self.observe(measure, time.as_secs_f64());
            }
        }
        self.observe(Measure::PromptTokens, usage.prompt_tokens as f64);
        self.observe(Measure::GeneratedTokens, usage.generated_tokens as f64);
        self.count(Count::Prompt, usage.prompt_tokens as u64);
        self.count(Count::Cached, usage.cached_tokens as u64);
        for (names, family) in &self.finished {
            family.with_label_values(&[&self.model, names.finish_reason(finish_reason)]).inc();
        }
    }
}
