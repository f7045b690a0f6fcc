// What the engine does right now.

import { useEffect, useState } from "preact/hooks";

import { RequestError, getJson } from "../api";
import { N_VALUES, Plot } from "../parts/Plot";
import { texts } from "../texts";

interface EngineStats {
  active_sessions?: number;
  queued_requests?: number;
  max_concurrent_sessions?: number | null;
  memory_bytes?: number;
  cache_info?: { pages: number; pinned_pages: number; num_entries: number; hits: number; reused_tokens: number; computed_tokens: number };
  batching?: { generated_tokens: number; finished: number };
}

interface Stats extends EngineStats {
  models?: Record<string, EngineStats & { engine_status: string }>;
  performance_metrics?: { first_token_ms?: { p50: number }; inter_token_ms?: { p50: number } } | null;
}

/** What is plotted. */
interface Sample {
  at: number;
  running: number;
  waiting: number;
  pages: number;
  generated: number;
  perSecond: number;
}

const EVERY_MS = 1000;

const sum = (engines: EngineStats[], of: (engine: EngineStats) => number | null | undefined) =>
  engines.reduce((total, engine) => total + (of(engine) ?? 0), 0);

function sampled(engines: EngineStats[], before: Sample | undefined): Sample {
  const at = performance.now();
  const generated = sum(engines, (engine) => engine.batching?.generated_tokens);
  const seconds = before ? (at - before.at) / 1000 : 0;
  return {
    at,
    running: sum(engines, (engine) => engine.active_sessions),
    waiting: sum(engines, (engine) => engine.queued_requests),
    pages: sum(engines, (engine) => engine.cache_info?.pinned_pages),
    generated,
    // A model that was unloaded takes its count with it.
    perSecond: before && seconds > 0 ? Math.max(0, generated - before.generated) / seconds : 0,
  };
}

export function EngineView() {
  const [samples, setSamples] = useState<Sample[]>([]);
  const [stats, setStats] = useState<Stats>();
  const [error, setError] = useState("");
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let isGone = false;
    const ask = async () => {
      try {
        const now = await getJson<Stats>("/stats");
        const engines = Object.values(now.models ?? {});
        setStats(now);
        setSamples((before) => [...before, sampled(engines, before.at(-1))].slice(-N_VALUES));
        setError("");
      } catch (failure) {
        const isMissing = failure instanceof RequestError && failure.status === 404;
        setError(isMissing ? texts.engine.noStats : failure instanceof Error ? failure.message : String(failure));
      }
      if (!isGone) timer = setTimeout(ask, EVERY_MS);
    };
    void ask();
    return () => {
      isGone = true;
      clearTimeout(timer);
    };
  }, []);
  const t = texts.engine;
  return (
    <div class="view engine">
      <div class="scroller">
        <div class="wide column">
          <p class="about">{t.about}</p>
          {error && <p class="problem-note" role="alert">{error}</p>}
          {stats && <Figures stats={stats} samples={samples} />}
        </div>
      </div>
    </div>
  );
}

function Figures({ stats, samples }: { stats: Stats; samples: Sample[] }) {
  const t = texts.engine;
  const engines = Object.values(stats.models ?? {});
  const whole = (value: number) => texts.stats.number(value);
  const of = (field: (sample: Sample) => number) => samples.map(field);
  const limit = (value: number) => (value > 0 ? value : undefined);
  const reused = sum(engines, (engine) => engine.cache_info?.reused_tokens);
  const computed = sum(engines, (engine) => engine.cache_info?.computed_tokens);
  const times = stats.performance_metrics;
  const facts: [string, string][] = [
    [t.model, Object.entries(stats.models ?? {}).map(([name, { engine_status }]) => `${name} (${engine_status})`).join(", ")],
    [t.memory, `${(sum(engines, (engine) => engine.memory_bytes) / 2 ** 20).toFixed(0)} MiB`],
    [t.hitRate, reused + computed > 0 ? `${((100 * reused) / (reused + computed)).toFixed(0)} %` : "–"],
    [t.cachedPages, whole(sum(engines, (engine) => engine.cache_info?.num_entries))],
    [t.finished, whole(sum(engines, (engine) => engine.batching?.finished))],
    [t.firstToken, times?.first_token_ms ? texts.stats.ms(times.first_token_ms.p50) : "–"],
    [t.interToken, times?.inter_token_ms ? texts.stats.ms(times.inter_token_ms.p50) : "–"],
  ];
  return (
    <>
      <div class="plots">
        <Plot name={t.batch} values={of(({ running }) => running)} limit={limit(sum(engines, (engine) => engine.max_concurrent_sessions))} shown={whole} />
        <Plot name={t.queue} values={of(({ waiting }) => waiting)} shown={whole} />
        <Plot name={t.pages} values={of(({ pages }) => pages)} limit={limit(sum(engines, (engine) => engine.cache_info?.pages))} shown={whole} />
        <Plot name={t.speed} values={of(({ perSecond }) => perSecond)} shown={(value) => value.toFixed(value > 0 && value < 10 ? 1 : 0)} />
      </div>
      <dl class="facts">
        {facts.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}
      </dl>
    </>
  );
}
