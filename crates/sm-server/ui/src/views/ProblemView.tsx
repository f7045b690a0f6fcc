// A problem and its solution: steps and the answer, or a program.

import { useState } from "preact/hooks";

import { emptyAnswer } from "../answer";
import { Code } from "../parts/Code";
import { Composer, Examples, focusInput } from "../parts/Composer";
import { Markdown } from "../parts/Markdown";
import { Reasoning } from "../parts/MessageView";
import { StatsLine } from "../parts/StatsLine";
import { useRun } from "../parts/run";
import { samplingOf, seeded } from "../preferences";
import { type Solution, solve, steps } from "../solve";
import { type Tab, defaultsOf } from "../tabs";
import { texts } from "../texts";

export function ProblemView({ tab }: { tab: Tab }) {
  const [problem, setProblem] = useState("");
  const { answer, isBusy, error, start, stop } = useRun<Solution>();
  const run = () => {
    const sampling = seeded(samplingOf(tab.id, defaultsOf(tab)));
    start(emptyAnswer(), (solution, changed, signal) => solve(tab, problem, sampling, solution, changed, signal));
  };
  return (
    <div class="view problem">
      <div class="scroller">
        <div class="column">
          <p class="about">{tab.about}</p>
          <Composer
            value={problem} onInput={setProblem} onSubmit={run} onStop={stop} isBusy={isBusy}
            label={texts.problem.label} placeholder={tab.placeholder} submit={texts.problem.solve}
          />
          <Examples
            list={tab.examples ?? []}
            onChoose={(text) => {
              setProblem(text);
              focusInput();
            }}
          />
          {error && <p class="problem-note" role="alert">{error}</p>}
          {answer && <SolutionView tab={tab} solution={answer} isBusy={isBusy} />}
        </div>
      </div>
    </div>
  );
}

function SolutionView({ tab, solution, isBusy }: { tab: Tab; solution: Solution; isBusy: boolean }) {
  const t = texts.problem;
  const { content, reasoning, result, stats, finish } = solution;
  const isWaiting = isBusy && !content;
  return (
    <article class="solution" aria-label={t.solution} aria-busy={isBusy}>
      {reasoning && <Reasoning text={reasoning} isRunning={false} />}
      {isWaiting && <p class="waiting"><span class="dot" />{texts.message.waiting}</p>}
      {tab.kind === "math" && content && (
        <section aria-label={t.steps}>
          <h2>{t.steps}</h2>
          <Steps list={steps(content, result)} />
        </section>
      )}
      {tab.kind === "math" && finish && (
        <section class="result" aria-label={t.answer}>
          <h2>{t.answer}</h2>
          {result ? <Markdown text={asFormula(result)} /> : <p class="hint">{t.noAnswer}</p>}
        </section>
      )}
      {tab.kind === "coding" && finish && (
        <section class="result" aria-label={t.code}>
          <h2>{t.code}</h2>
          {result ? <Code source={result} language={languageOf(content, result)} /> : <p class="hint">{t.noCode}</p>}
        </section>
      )}
      {tab.kind !== "math" && content && (
        <section aria-label={t.solution}>
          <h2>{t.solution}</h2>
          <Markdown text={content} />
        </section>
      )}
      {finish === "length" && <p class="note">{texts.message.length}</p>}
      {!isBusy && <StatsLine stats={stats} />}
    </article>
  );
}

function Steps({ list }: { list: string[] }) {
  if (list.length < 2) return <Markdown text={list[0] ?? ""} />;
  return (
    <ol class="steps">
      {list.map((step, index) => <li key={index}><Markdown text={step} /></li>)}
    </ol>
  );
}

/** An answer that the model has written in TeX, but without dollars, is one nevertheless. */
const asFormula = (answer: string) =>
  /\\(frac|sqrt|cdot|times|pi|left|text|boxed)\b/.test(answer) && !/\$|\\\(|\\\[/.test(answer) ? `$${answer}$` : answer;

/** The language of the block that the code is from. */
function languageOf(solution: string, code: string): string | undefined {
  const start = solution.lastIndexOf(code.trimEnd());
  return start < 0 ? undefined : /```([\w+#-]+)[^\n]*\n$/.exec(solution.slice(0, start))?.[1];
}
