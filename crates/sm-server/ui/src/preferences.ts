// What the browser remembers: the key, the appearance, and the settings of answers by tab.

import { effect, signal } from "@preact/signals";

import { texts } from "./texts";

export type Thinking = "auto" | "on" | "off";
export type Theme = "auto" | "light" | "dark";

/** The settings of an answer. */
export interface Sampling {
  /** Empty for the server's default. */
  model: string;
  temperature: number;
  topP: number;
  topK: number;
  maxTokens: number;
  /** A random one for each answer if it is null. */
  seed: number | null;
  thinking: Thinking;
}

/** The defaults of the original page; top-p and top-k are those of `/generate`. */
export const DEFAULTS: Sampling = {
  model: "",
  temperature: 0.7,
  topP: 0.9,
  topK: 50,
  maxTokens: 512,
  seed: null,
  thinking: "auto",
};

export interface ToolSettings {
  isOn: boolean;
  /** A JSON list of tools in OpenAI's form. */
  json: string;
}

const EXAMPLE_TOOLS = `[
  {
    "type": "function",
    "function": {
      "name": "weather",
      "description": "The weather in a city",
      "parameters": {
        "type": "object",
        "properties": { "city": { "type": "string" } },
        "required": ["city"]
      }
    }
  }
]`;

/** Reads a value; anything that is not of the fallback's type is ignored. */
function stored<T>(name: string, fallback: T): T {
  try {
    const text = localStorage.getItem(`smallmind.${name}`);
    if (text === null) return fallback;
    const value: unknown = JSON.parse(text);
    if (typeof value !== typeof fallback || value === null) return fallback;
    return typeof fallback === "object" ? { ...fallback, ...(value as T) } : (value as T);
  } catch {
    // Storage may be forbidden, and its contents are whatever an earlier version has written.
    return fallback;
  }
}

function store(name: string, value: unknown) {
  try {
    localStorage.setItem(`smallmind.${name}`, JSON.stringify(value));
  } catch {
    // The value lasts until the page is closed.
  }
}

function remembered<T>(name: string, fallback: T) {
  const value = signal(stored(name, fallback));
  effect(() => store(name, value.value));
  return value;
}

export const apiKey = remembered("key", "");
export const theme = remembered<Theme>("theme", "auto");
export const recordsTokens = remembered("tokens", false);
export const tools = remembered<ToolSettings>("tools", { isOn: false, json: EXAMPLE_TOOLS });
export const samplings = remembered<Record<string, Partial<Sampling>>>("sampling", {});

effect(() => {
  document.documentElement.dataset.theme = theme.value;
});

/** The tools of a JSON text. Throws an error that says what is wrong with it. */
export function toolList(json: string): unknown[] {
  let list: unknown;
  try {
    list = JSON.parse(json);
  } catch (error) {
    throw new Error(texts.controls.toolsWrong(error instanceof Error ? error.message : String(error)));
  }
  if (!Array.isArray(list)) throw new Error(texts.controls.toolsWrong(texts.controls.toolsNoList));
  return list;
}

/** The settings of a tab, over its own defaults. */
export function samplingOf(tab: string, defaults: Partial<Sampling> = {}): Sampling {
  return { ...DEFAULTS, ...defaults, ...samplings.value[tab] };
}

export function setSampling(tab: string, change: Partial<Sampling>) {
  samplings.value = { ...samplings.value, [tab]: { ...samplings.value[tab], ...change } };
}

export function resetSampling(tab: string) {
  const { [tab]: _, ...others } = samplings.value;
  samplings.value = others;
}

/** The settings with a seed, so that an answer can be repeated and continued. */
export function seeded(sampling: Sampling): Sampling & { seed: number } {
  const random = () => crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
  return { ...sampling, seed: sampling.seed ?? random() };
}
