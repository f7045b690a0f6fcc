// Conversations as a file, and back. A file is foreign input: what does not have the right form is refused.

import { type Conversation, type Message, newId } from "./conversation";

const FORMAT = "smallmind-conversations";

export const exported = (conversations: Conversation[]) =>
  JSON.stringify({ format: FORMAT, version: 1, conversations }, null, 1);

/** The conversations of a file. Throws an error that says what is wrong with it. */
export function imported(text: string): Conversation[] {
  const file: unknown = JSON.parse(text);
  if (!isObject(file) || file.format !== FORMAT || !Array.isArray(file.conversations)) {
    throw new Error(`it has no "format": "${FORMAT}"`);
  }
  if (file.version !== 1) throw new Error(`version ${String(file.version)} is unknown`);
  return file.conversations.map(conversation);
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const text = (value: unknown) => (typeof value === "string" ? value : "");

function conversation(value: unknown, index: number): Conversation {
  if (!isObject(value) || !Array.isArray(value.messages)) {
    throw new Error(`conversation ${index + 1} has no messages`);
  }
  const messages = value.messages.map((entry, at) => message(entry, `message ${at + 1} of conversation ${index + 1}`));
  const ids = new Set<string>();
  for (const { id, parent } of messages) {
    // A parent comes before its children, so that there are no circles.
    if (ids.has(id) || (parent !== null && !ids.has(parent))) {
      throw new Error(`the messages of conversation ${index + 1} are no tree`);
    }
    ids.add(id);
  }
  const leaf = text(value.leaf);
  return {
    id: text(value.id) || newId(),
    title: text(value.title),
    updated: typeof value.updated === "number" ? value.updated : Date.now(),
    system: text(value.system),
    messages,
    leaf: ids.has(leaf) ? leaf : (messages.at(-1)?.id ?? null),
  };
}

const ROLES = ["user", "assistant", "tool"] as const;

function message(value: unknown, name: string): Message {
  const role = ROLES.find((role) => isObject(value) && value.role === role);
  if (!isObject(value) || !role || !text(value.id) || typeof value.content !== "string") {
    throw new Error(`${name} needs an id, a role and a content`);
  }
  const state = value.state === "failed" ? "failed" : value.state === "done" ? "done" : "stopped";
  return {
    id: text(value.id),
    parent: text(value.parent) || null,
    role,
    content: value.content,
    state,
    ...(value.reasoning ? { reasoning: text(value.reasoning) } : {}),
    ...(value.callId ? { callId: text(value.callId) } : {}),
    ...(value.model ? { model: text(value.model) } : {}),
    ...(value.finish ? { finish: text(value.finish) } : {}),
    ...(value.error ? { error: text(value.error) } : {}),
    ...(Array.isArray(value.calls) ? { calls: value.calls.filter(isObject).map(call) } : {}),
    ...(Array.isArray(value.tokens) ? { tokens: value.tokens.filter(isObject).map(token) } : {}),
    ...(isObject(value.stats) ? { stats: numbers(value.stats) } : {}),
  };
}

const call = (value: Record<string, unknown>) => ({
  id: text(value.id),
  name: text(value.name),
  arguments: text(value.arguments),
});

const alternative = (value: Record<string, unknown>) => ({ text: text(value.text), logprob: Number(value.logprob) || 0 });

const token = (value: Record<string, unknown>) => ({
  ...alternative(value),
  alternatives: (Array.isArray(value.alternatives) ? value.alternatives : []).filter(isObject).map(alternative),
  ...(value.isThought === true ? { isThought: true } : {}),
});

const numbers = (value: Record<string, unknown>) =>
  Object.fromEntries(Object.entries(value).filter(([, entry]) => typeof entry === "number"));
