// Whether the server can be reached, and what to do if it cannot.

import { effect, signal } from "@preact/signals";

import { RequestError, getJson } from "./api";
import { apiKey } from "./preferences";

export type ServerState = "checking" | "ready" | "loading" | "draining" | "failed" | "unreachable" | "key";

export interface Status {
  state: ServerState;
  /** From 0 to 1, while the model loads. */
  progress?: number;
  /** Why the model could not be loaded. */
  error?: string;
}

export interface ModelInfo {
  id: string;
  max_model_len?: number | null;
}

export const status = signal<Status>({ state: "checking" });
export const models = signal<ModelInfo[]>([]);

/** What screen readers are told. */
export const announcement = signal("");
export const announce = (text: string) => {
  announcement.value = text;
};

const EVERY_MS = 5000;
/** More often while something is about to change. */
const SOON_MS = 1000;

let timer: ReturnType<typeof setTimeout> | undefined;

/** Asks now, and from then on regularly while the page is visible. */
export async function check() {
  clearTimeout(timer);
  if (!document.hidden) status.value = await ask();
  clearTimeout(timer);
  timer = setTimeout(check, status.value.state === "ready" ? EVERY_MS : SOON_MS);
}

async function ask(): Promise<Status> {
  try {
    await getJson("/health");
    // Other servers have no such endpoint.
    await getJson("/ready").catch((error) => {
      if (!(error instanceof RequestError && error.status === 404)) throw error;
    });
    if (models.peek().length === 0) models.value = (await getJson<{ data: ModelInfo[] }>("/v1/models")).data;
    return { state: "ready" };
  } catch (error) {
    return problem(error);
  }
}

function problem(error: unknown): Status {
  if (!(error instanceof RequestError)) return { state: "unreachable" };
  if (error.status === 401 || error.status === 403) return { state: "key" };
  const body = (error.body ?? {}) as { status?: string; progress?: number; error?: string };
  switch (body.status) {
    case "draining":
      return { state: "draining" };
    case "failed":
      return { state: "failed", ...(body.error ? { error: body.error } : {}) };
    case "loading":
      return { state: "loading", progress: body.progress ?? 0 };
    default:
      return { state: "unreachable" };
  }
}

/** Begins to ask. */
export function watchServer() {
  effect(() => {
    // With another key, there may be other models.
    apiKey.value;
    models.value = [];
    void check();
  });
  document.addEventListener("visibilitychange", () => void check());
}
