// Problems for `/solve/math` and `/solve/coding`, and how a solution falls into steps.

import { type Answer, broken, streamChat, thinkingField } from "./answer";
import { RequestError, messageOf, post } from "./api";
import { serverEvents } from "./events";
import type { Sampling } from "./preferences";
import type { Tab } from "./tabs";
import { texts } from "./texts";

export interface Solution extends Answer {
  /** What the server took out of the text: the answer, or the code; null if there is none. */
  result?: string | null;
}

interface Done {
  solution: string;
  answer?: string | null;
  code?: string | null;
  input_tokens: number;
  output_tokens: number;
  finish_reason: string;
  seed: number;
  metrics: {
    prefill_ms: number;
    decode_ms: number;
    tokens_per_second: number;
    cached_tokens: number;
  };
}

/** Streams the solution of a problem into `solution`. */
export async function solve(
  tab: Tab,
  problem: string,
  sampling: Sampling & { seed: number },
  solution: Solution,
  changed: () => void,
  signal: AbortSignal,
): Promise<void> {
  if (tab.kind === "prompt") {
    const messages = [
      { role: "system", content: tab.system ?? "" },
      { role: "user", content: problem },
    ];
    return streamChat({ messages, sampling, recordsTokens: false }, solution, changed, signal);
  }
  const started = performance.now();
  const body = {
    problem,
    ...(sampling.model ? { model: sampling.model } : {}),
    temperature: sampling.temperature,
    top_p: sampling.topP,
    top_k: sampling.topK,
    max_tokens: sampling.maxTokens,
    seed: sampling.seed,
    ...thinkingField(sampling.thinking),
  };
  const response = await post(`/solve/${tab.kind}`, body, signal);
  if (!response.body) throw new RequestError(texts.errors.noStream, response.status);
  try {
    for await (const { name, data } of serverEvents(response.body)) {
      const value = JSON.parse(data);
      if (name === "error") throw new RequestError(messageOf(value) ?? texts.errors.http(500), response.status);
      if (name === "done") {
        finish(value as Done, solution, performance.now() - started);
      } else {
        solution.content += value.text ?? "";
        solution.stats.firstMs ??= performance.now() - started;
      }
      changed();
    }
  } catch (error) {
    throw broken(error);
  }
  if (solution.finish === undefined) throw new RequestError(texts.message.cutOff, 0);
}

function finish(done: Done, solution: Solution, totalMs: number) {
  const { reasoning, text } = withoutThoughts(done.solution);
  solution.content = text;
  solution.reasoning = reasoning;
  solution.finish = done.finish_reason;
  solution.result = done.answer ?? done.code ?? null;
  solution.stats = {
    ...solution.stats,
    totalMs,
    serverMs: done.metrics.prefill_ms + done.metrics.decode_ms,
    perSecond: done.metrics.tokens_per_second || undefined,
    promptTokens: done.input_tokens,
    cachedTokens: done.metrics.cached_tokens,
    tokens: done.output_tokens,
    seed: done.seed,
  };
}

/** Thoughts stand before the solution, between marks; the closing one may be all that there is. */
export function withoutThoughts(solution: string) {
  const end = solution.indexOf("</think>");
  if (end < 0) return { reasoning: "", text: solution };
  const reasoning = solution.slice(0, end).replace(/^\s*<think>/, "").trim();
  return { reasoning, text: solution.slice(end + "</think>".length).trimStart() };
}

/** The steps of a solution: its paragraphs or lines, without the last one if that only states the answer. */
export function steps(solution: string, answer: string | null | undefined): string[] {
  const text = solution.trim();
  // A list or headings have an order of their own, and code and formulas must stay whole.
  if (/^\s*(\d+[.)]|[-*#]|```|\$\$|\\\[|\|)/m.test(text)) return [text];
  const lines = text.split(/\n+/).map((line) => line.trim()).filter(Boolean);
  const last = lines.at(-1);
  if (answer && last && lines.length > 1 && /^\W*(the )?(final )?answer\b/i.test(last)) lines.pop();
  return lines;
}
