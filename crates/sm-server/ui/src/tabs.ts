// The tabs, from the server's JSON file, and where the server is.

import { signal } from "@preact/signals";

export interface Tab {
  id: string;
  title: string;
  kind: "chat" | "math" | "coding" | "prompt";
  about?: string;
  placeholder?: string;
  system?: string;
  temperature?: number;
  max_tokens?: number;
  examples?: string[];
}

interface Config {
  /** Null for the server that the page comes from. */
  api_url: string | null;
  version: string;
}

export const tabs = signal<Tab[]>([]);
export const config = signal<Config>({ api_url: null, version: "" });

/** The folder that the page is in, without a slash at its end: proxies may put a server anywhere. */
const home = new URL(".", document.baseURI).href.replace(/\/$/, "");

/** The address of the API. */
export const apiUrl = () => config.value.api_url ?? home;

/** The tab that has conversations. */
export const chatTab = () => tabs.value.find(({ kind }) => kind === "chat")?.id ?? "chat";

/** Reads both files of the page. */
export async function loadTabs() {
  const read = async (name: string) => {
    const response = await fetch(`${home}/ui/${name}`);
    if (!response.ok) throw new Error(`${name}: ${response.status}`);
    return response.json();
  };
  const [list, settings] = await Promise.all([read("tabs.json"), read("config.json")]);
  config.value = settings;
  tabs.value = list.tabs;
}

/** The settings that a tab's file gives. */
export function defaultsOf(tab: Tab) {
  return {
    ...(tab.temperature === undefined ? {} : { temperature: tab.temperature }),
    ...(tab.max_tokens === undefined ? {} : { maxTokens: tab.max_tokens }),
  };
}
