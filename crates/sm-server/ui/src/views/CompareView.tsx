// One prompt, answered with two settings.

import { useState } from "preact/hooks";

import { type Answer, emptyAnswer, streamChat } from "../answer";
import { Composer } from "../parts/Composer";
import { Controls, SeedField } from "../parts/Controls";
import { Markdown } from "../parts/Markdown";
import { Reasoning } from "../parts/MessageView";
import { StatsLine } from "../parts/StatsLine";
import { type Run, useRun } from "../parts/run";
import { resetSampling, samplingOf, seeded, setSampling } from "../preferences";
import { texts } from "../texts";

const SIDES = ["A", "B"] as const;

const tabOf = (side: string) => `compare-${side}`;

/** The second side starts with the likeliest tokens, so that there is something to see. */
const defaultsOf = (side: string) => ({ temperature: side === "A" ? 0.7 : 0, maxTokens: 256 });

export function CompareView() {
  const [prompt, setPrompt] = useState("");
  const runs = { A: useRun<Answer>(), B: useRun<Answer>() };
  const t = texts.compare;
  const isBusy = SIDES.some((side) => runs[side].isBusy);
  const start = () => {
    // Drawn once, so that both sides have the same.
    const { seed } = seeded(samplingOf("compare"));
    for (const side of SIDES) {
      const sampling = { ...samplingOf(tabOf(side), defaultsOf(side)), seed };
      const messages = [{ role: "user", content: prompt }];
      runs[side].start(emptyAnswer(), (answer, changed, signal) =>
        streamChat({ messages, sampling, recordsTokens: false }, answer, changed, signal),
      );
    }
  };
  const done = SIDES.map((side) => runs[side].answer).filter((answer) => answer?.finish);
  return (
    <div class="view compare">
      <div class="scroller">
        <div class="wide column">
          <p class="about">{t.about}</p>
          <Composer
            value={prompt} onInput={setPrompt} onSubmit={start} isBusy={isBusy}
            onStop={() => SIDES.forEach((side) => runs[side].stop())}
            label={t.prompt} placeholder={t.placeholder} submit={t.run}
          />
          <SeedField label={t.seed} value={samplingOf("compare").seed} onChange={(seed) => setSampling("compare", { seed })} />
          {done.length === 2 && (
            <p class="hint" role="status">{done[0]?.content === done[1]?.content ? t.same : t.differ}</p>
          )}
          <div class="sides">
            {SIDES.map((side) => <Side key={side} side={side} run={runs[side]} />)}
          </div>
        </div>
      </div>
    </div>
  );
}

function Side({ side, run: { answer, isBusy, error } }: { side: string; run: Run<Answer> }) {
  const tab = tabOf(side);
  return (
    <section class="side" aria-label={texts.compare.side(side)}>
      <h2>{texts.compare.side(side)}</h2>
      <details>
        <summary>{texts.controls.title}</summary>
        <Controls
          sampling={samplingOf(tab, defaultsOf(side))} withoutSeed
          onChange={(change) => setSampling(tab, change)} onReset={() => resetSampling(tab)}
        />
      </details>
      {error && <p class="problem-note" role="alert">{error}</p>}
      {answer && (
        <article aria-label={texts.assistant} aria-busy={isBusy}>
          {answer.reasoning && <Reasoning text={answer.reasoning} isRunning={isBusy && !answer.content} />}
          <Markdown text={answer.content} />
          {!isBusy && <StatsLine stats={answer.stats} />}
        </article>
      )}
    </section>
  );
}
