// Requests to the server.

import { apiKey } from "./preferences";
import { apiUrl } from "./tabs";
import { texts } from "./texts";

/** A request that failed, with a message for people. */
export class RequestError extends Error {
  constructor(
    message: string,
    /** 0 if there was no answer at all. */
    readonly status: number,
    /** The body of the answer, if it was JSON. */
    readonly body?: unknown,
  ) {
    super(message);
  }
}

/** Whether an error only says that the request was given up. */
export const isAbort = (error: unknown) => error instanceof DOMException && error.name === "AbortError";

/** Sends a request, and fails unless its answer is a success. */
export async function request(path: string, options: RequestInit = {}): Promise<Response> {
  const headers = new Headers(options.headers);
  if (apiKey.value) headers.set("authorization", `Bearer ${apiKey.value}`);
  let response: Response;
  try {
    response = await fetch(apiUrl() + path, { ...options, headers, cache: "no-store", credentials: "omit" });
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new RequestError(texts.errors.unreachable, 0);
  }
  if (response.ok) return response;
  throw await refusal(response);
}

export async function getJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  const response = await request(path, { signal: signal ?? AbortSignal.timeout(10_000) });
  return response.json() as Promise<T>;
}

export function post(path: string, body: unknown, signal: AbortSignal, accept = "text/event-stream") {
  const headers = { "content-type": "application/json", accept };
  return request(path, { method: "POST", headers, body: JSON.stringify(body), signal });
}

async function refusal(response: Response): Promise<RequestError> {
  // Not JSON: a proxy's page.
  const body: unknown = await response.json().catch(() => undefined);
  const message = messageOf(body) ?? texts.errors.http(response.status);
  const seconds = Number(response.headers.get("retry-after"));
  const remedy = seconds > 0 ? `. ${texts.errors.retryAfter(seconds)}` : "";
  return new RequestError(message + remedy, response.status, body);
}

/** The message of an error's body, in the forms of OpenAI, llama.cpp and SmallMind's documents. */
export function messageOf(body: unknown): string | undefined {
  if (typeof body !== "object" || body === null) return undefined;
  const { error, detail } = body as { error?: unknown; detail?: unknown };
  if (typeof detail === "string") return detail;
  if (typeof error === "string") return error;
  const message = (error as { message?: unknown } | undefined)?.message;
  return typeof message === "string" ? message : undefined;
}
