// An answer as it streams in: its text, thoughts, calls, tokens and measurements.

import { RequestError, messageOf, post } from "./api";
import { serverEvents } from "./events";
import type { Sampling, Thinking } from "./preferences";
import { texts } from "./texts";

export interface Alternative {
  text: string;
  /** The natural logarithm of its probability. */
  logprob: number;
}

export interface Token extends Alternative {
  alternatives: Alternative[];
  /** Whether it belongs to the thoughts. */
  isThought?: boolean;
}

export interface ToolCall {
  id: string;
  name: string;
  arguments: string;
}

export interface Stats {
  /** From sending to the first token, as the browser sees it. */
  firstMs?: number;
  totalMs?: number;
  /** What the server says it computed. */
  serverMs?: number;
  perSecond?: number;
  promptTokens?: number;
  cachedTokens?: number;
  tokens?: number;
  seed?: number;
}

export interface Answer {
  content: string;
  reasoning: string;
  calls: ToolCall[];
  tokens: Token[];
  stats: Stats;
  /** Why it ended; undefined while it runs. */
  finish?: string;
}

export const emptyAnswer = (content = "", tokens: Token[] = []): Answer => ({
  content,
  reasoning: "",
  calls: [],
  tokens: [...tokens],
  stats: {},
});

/** A message as the API takes it. */
export interface WireMessage {
  role: string;
  content: string | null;
  reasoning_content?: string;
  tool_calls?: unknown[];
  tool_call_id?: string;
}

export interface ChatRequest {
  messages: WireMessage[];
  sampling: Sampling & { seed: number };
  recordsTokens: boolean;
  /** Continues the last message, which is the model's. */
  continues?: boolean;
  tools?: unknown[];
}

/** Alternatives that are asked for at each token. */
const N_ALTERNATIVES = 5;

/** What tells a template whether to think. */
export function thinkingField(thinking: Thinking) {
  return thinking === "auto" ? {} : { chat_template_kwargs: { enable_thinking: thinking === "on" } };
}

function bodyOf({ messages, sampling, recordsTokens, continues, tools }: ChatRequest) {
  return {
    ...(sampling.model ? { model: sampling.model } : {}),
    messages,
    stream: true,
    stream_options: { include_usage: true },
    timings_per_token: true,
    temperature: sampling.temperature,
    top_p: sampling.topP,
    top_k: sampling.topK,
    max_tokens: sampling.maxTokens,
    seed: sampling.seed,
    ...thinkingField(sampling.thinking),
    ...(recordsTokens ? { logprobs: true, top_logprobs: N_ALTERNATIVES } : {}),
    ...(continues ? { continue_final_message: true, add_generation_prompt: false } : {}),
    ...(tools ? { tools } : {}),
  };
}

interface WireToken {
  token: string;
  logprob: number;
  top_logprobs?: { token: string; logprob: number }[];
}

interface Chunk {
  error?: unknown;
  choices?: {
    delta?: {
      content?: string | null;
      reasoning_content?: string | null;
      tool_calls?: { index: number; id?: string; function?: { name?: string; arguments?: string } }[];
    };
    logprobs?: { content?: WireToken[] | null } | null;
    finish_reason?: string | null;
  }[];
  usage?: {
    prompt_tokens?: number;
    completion_tokens?: number;
    prompt_tokens_details?: { cached_tokens?: number } | null;
  } | null;
  timings?: { prompt_ms?: number; predicted_ms?: number; predicted_n?: number; predicted_per_second?: number };
}

/** Streams an answer into `answer`, and tells of each change. Fails if the stream ends before the answer does. */
export async function streamChat(
  request: ChatRequest,
  answer: Answer,
  changed: () => void,
  signal: AbortSignal,
): Promise<void> {
  const started = performance.now();
  answer.stats.seed = request.sampling.seed;
  const response = await post("/v1/chat/completions", bodyOf(request), signal);
  if (!response.body) throw new RequestError(texts.errors.noStream, response.status);
  try {
    for await (const { data } of serverEvents(response.body)) {
      if (data === "[DONE]") break;
      const chunk = JSON.parse(data) as Chunk;
      if (chunk.error) throw new RequestError(messageOf(chunk) ?? texts.errors.http(500), response.status);
      add(chunk, answer, started);
      changed();
    }
  } catch (error) {
    throw broken(error);
  }
  if (answer.finish === undefined) throw new RequestError(texts.message.cutOff, 0);
  answer.stats.totalMs = performance.now() - started;
  changed();
}

/** A connection that breaks off is the network's error, in the browser's words. */
export const broken = (error: unknown) =>
  error instanceof TypeError || error instanceof SyntaxError ? new RequestError(texts.message.cutOff, 0) : error;

function add(chunk: Chunk, answer: Answer, started: number) {
  const choice = chunk.choices?.[0];
  const delta = choice?.delta;
  const isText = Boolean(delta?.content || delta?.reasoning_content || delta?.tool_calls?.length);
  if (isText) answer.stats.firstMs ??= performance.now() - started;
  answer.content += delta?.content ?? "";
  answer.reasoning += delta?.reasoning_content ?? "";
  for (const { index, id, function: part } of delta?.tool_calls ?? []) {
    const call = (answer.calls[index] ??= { id: id ?? `call-${index}`, name: "", arguments: "" });
    call.name += part?.name ?? "";
    call.arguments += part?.arguments ?? "";
  }
  const isThought = Boolean(delta?.reasoning_content);
  for (const { token, logprob, top_logprobs } of choice?.logprobs?.content ?? []) {
    const alternatives = (top_logprobs ?? []).map((top) => ({ text: top.token, logprob: top.logprob }));
    answer.tokens.push({ text: token, logprob, alternatives, ...(isThought ? { isThought } : {}) });
  }
  answer.finish = choice?.finish_reason ?? answer.finish;
  const { usage, timings } = chunk;
  const stats = answer.stats;
  if (usage) {
    stats.promptTokens = usage.prompt_tokens;
    stats.tokens = usage.completion_tokens;
    stats.cachedTokens = usage.prompt_tokens_details?.cached_tokens ?? 0;
  }
  if (timings) {
    stats.serverMs = (timings.prompt_ms ?? 0) + (timings.predicted_ms ?? 0);
    stats.perSecond = timings.predicted_per_second || undefined;
    stats.tokens = timings.predicted_n ?? stats.tokens;
  }
}

/** The text before a token, or null if the tokens are not those of the text. */
export function textBefore(answer: { content: string; tokens: Token[] }, index: number): string | null {
  const before = answer.tokens.slice(0, index).filter((token) => !token.isThought);
  const text = before.map((token) => token.text).join("");
  return answer.content.startsWith(text) ? text : null;
}

/** Marks that end an answer, as vocabularies write them. */
export const isEnd = (text: string) => text === "" || /^(<[|｜].*[|｜]>|<\/s>|<eos>|<end_of_turn>)$/.test(text);
