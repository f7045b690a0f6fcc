// A conversation: a tree of messages, of which one path is shown.

import type { Stats, Token, ToolCall, WireMessage } from "./answer";

export type State = "done" | "streaming" | "stopped" | "failed";

export interface Message {
  id: string;
  parent: string | null;
  role: "user" | "assistant" | "tool";
  content: string;
  reasoning?: string;
  calls?: ToolCall[];
  /** The call that this is the result of. */
  callId?: string;
  tokens?: Token[];
  stats?: Stats;
  model?: string;
  finish?: string;
  error?: string;
  state: State;
}

export interface Conversation {
  id: string;
  title: string;
  /** Milliseconds since 1970. */
  updated: number;
  system: string;
  /** In the order in which they were made. */
  messages: Message[];
  /** The last message of the path that is shown. */
  leaf: string | null;
}

export const newId = () => crypto.randomUUID?.() ?? Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(16)).join("-");

export const newConversation = (): Conversation => ({
  id: newId(),
  title: "",
  updated: Date.now(),
  system: "",
  messages: [],
  leaf: null,
});

/** The messages from the first to the leaf. */
export function path(conversation: Conversation, leaf = conversation.leaf): Message[] {
  const byId = new Map(conversation.messages.map((message) => [message.id, message]));
  const found: Message[] = [];
  for (let id = leaf; id !== null && found.length <= byId.size; ) {
    const message = byId.get(id);
    if (!message) break;
    found.unshift(message);
    id = message.parent;
  }
  return found;
}

/** The messages that share a parent with this one, itself among them. */
export const versions = (conversation: Conversation, message: Message) =>
  conversation.messages.filter((other) => other.parent === message.parent && other.role === message.role);

/** The conversation with the newest continuation of a message shown. */
export function showing(conversation: Conversation, id: string): Conversation {
  let leaf = id;
  for (;;) {
    const next = conversation.messages.findLast((message) => message.parent === leaf);
    if (!next) return { ...conversation, leaf };
    leaf = next.id;
  }
}

/** The conversation with a message more, which is shown. */
export const withMessage = (conversation: Conversation, message: Message): Conversation => ({
  ...conversation,
  messages: [...conversation.messages, message],
  leaf: message.id,
  updated: Date.now(),
  title: conversation.title || titleOf(message),
});

/** The conversation with a message changed. */
export const withChange = (conversation: Conversation, id: string, change: Partial<Message>): Conversation => ({
  ...conversation,
  messages: conversation.messages.map((message) => (message.id === id ? { ...message, ...change } : message)),
  updated: Date.now(),
});

const MAX_TITLE = 60;

function titleOf({ role, content }: Message) {
  if (role !== "user") return "";
  const line = content.trim().split("\n")[0] ?? "";
  return line.length > MAX_TITLE ? `${line.slice(0, MAX_TITLE - 1)}…` : line;
}

/** The messages of a path as the API takes them. */
export function wireMessages(system: string, messages: Message[]): WireMessage[] {
  const wire = messages.map((message): WireMessage => {
    const { role, content, reasoning, calls, callId } = message;
    return {
      role,
      content: calls?.length && !content ? null : content,
      ...(reasoning ? { reasoning_content: reasoning } : {}),
      ...(calls?.length
        ? { tool_calls: calls.map(({ id, name, arguments: text }) => ({ id, type: "function", function: { name, arguments: text } })) }
        : {}),
      ...(callId ? { tool_call_id: callId } : {}),
    };
  });
  return system.trim() ? [{ role: "system", content: system.trim() }, ...wire] : wire;
}
