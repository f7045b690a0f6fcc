// All conversations, and what is done to them.

import { signal } from "@preact/signals";

import { type ToolCall, emptyAnswer, isEnd, streamChat, textBefore } from "./answer";
import { isAbort } from "./api";
import {
  type Conversation,
  type Message,
  newConversation,
  newId,
  path,
  showing,
  wireMessages,
  withChange,
  withMessage,
} from "./conversation";
import { frames } from "./frames";
import { type Sampling, recordsTokens, seeded, toolList, tools } from "./preferences";
import { navigate } from "./route";
import * as store from "./store";
import { announce } from "./status";
import { chatTab } from "./tabs";
import { texts } from "./texts";

export const conversations = signal<Conversation[]>([]);
/** What keeps conversations from being stored, for people. */
export const storageProblem = signal("");

/** What runs, by the message that it writes. */
const running = new Map<string, AbortController>();

/** How long a conversation may differ from what is stored while an answer streams. */
const STORE_EVERY_MS = 1000;

export async function loadConversations() {
  try {
    const stored = await store.readAll();
    // What was streaming when the page was closed will not go on.
    conversations.value = stored.map((conversation) => ({
      ...conversation,
      messages: conversation.messages.map((message) =>
        message.state === "streaming" ? { ...message, state: "stopped" as const } : message,
      ),
    }));
  } catch {
    storageProblem.value = texts.errors.storage;
  }
}

export const find = (id: string) => conversations.value.find((conversation) => conversation.id === id);

/** Replaces a conversation or adds it, and stores it. */
function put(conversation: Conversation) {
  const others = conversations.value.filter(({ id }) => id !== conversation.id);
  conversations.value = [conversation, ...others];
  void save(conversation);
}

async function save(conversation: Conversation) {
  try {
    await store.write(conversation);
    storageProblem.value = "";
  } catch {
    storageProblem.value = texts.errors.storage;
  }
}

/** Replaces a conversation where it is in the list, without storing it. */
function change(id: string, to: (conversation: Conversation) => Conversation) {
  conversations.value = conversations.value.map((each) => (each.id === id ? to(each) : each));
}

export function rename(id: string, title: string) {
  const conversation = find(id);
  if (conversation) put({ ...conversation, title });
}

export function setSystem(id: string, system: string) {
  change(id, (conversation) => ({ ...conversation, system }));
  const conversation = find(id);
  if (conversation) void save(conversation);
}

export async function remove(id: string) {
  find(id)?.messages.forEach((message) => stop(message.id));
  conversations.value = conversations.value.filter((conversation) => conversation.id !== id);
  try {
    await store.remove(id);
  } catch {
    storageProblem.value = texts.errors.storage;
  }
}

/** Adds conversations of a file. One that is here already is replaced if the file's is newer. */
export function addImported(imported: Conversation[]) {
  for (const conversation of imported) {
    const known = find(conversation.id);
    if (!known || known.updated < conversation.updated) put(conversation);
  }
  conversations.value = conversations.value.toSorted((a, b) => b.updated - a.updated);
}

export function show(id: string, messageId: string) {
  const conversation = find(id);
  if (conversation) put(showing(conversation, messageId));
}

export const stop = (messageId: string) => running.get(messageId)?.abort();

/** Stops the answers of a conversation, and says whether there were any. */
export function stopAll(id: string): boolean {
  const streaming = find(id)?.messages.filter(({ state }) => state === "streaming") ?? [];
  streaming.forEach((message) => stop(message.id));
  return streaming.length > 0;
}

const said = (role: "user" | "tool", parent: string | null, content: string): Message => ({
  id: newId(),
  parent,
  role,
  content,
  state: "done",
});

/** Says something at the end of a conversation, or of a new one, and has it answered. */
export function send(id: string | undefined, system: string, content: string, sampling: Sampling) {
  const conversation = (id && find(id)) || { ...newConversation(), system };
  put(withMessage(conversation, said("user", conversation.leaf, content)));
  navigate(`${chatTab()}/${conversation.id}`);
  answer(conversation.id, sampling);
}

/** Says something else in the place of a message, which stays as another version. */
export function edit(id: string, message: Message, content: string, sampling: Sampling) {
  const conversation = find(id);
  if (!conversation) return;
  put(withMessage(conversation, said("user", message.parent, content)));
  answer(id, sampling);
}

/** Another version of an answer. */
export function regenerate(id: string, message: Message, sampling: Sampling) {
  const conversation = find(id);
  if (!conversation) return;
  put({ ...conversation, leaf: message.parent });
  answer(id, sampling);
}

/** Tells the model what its calls gave. */
export function sendResults(id: string, message: Message, results: [ToolCall, string][], sampling: Sampling) {
  for (const [call, result] of results) {
    const conversation = find(id);
    if (!conversation) return;
    put(withMessage(conversation, { ...said("tool", conversation.leaf ?? message.id, result), callId: call.id }));
  }
  answer(id, sampling);
}

/** Another version of an answer that begins as it did, goes on with another token, and from there as the model wants. */
export function continueFrom(id: string, message: Message, index: number, text: string, sampling: Sampling) {
  const conversation = find(id);
  const before = textBefore({ content: message.content, tokens: message.tokens ?? [] }, index);
  const token = message.tokens?.[index];
  const chosen = token?.alternatives.find((alternative) => alternative.text === text) ?? token;
  if (!conversation || before === null || !token || !chosen) return;
  const isOver = isEnd(text);
  const tokens = message.tokens?.slice(0, index) ?? [];
  if (!isOver) tokens.push({ ...token, text, logprob: chosen.logprob });
  const begun: Partial<Message> = {
    content: isOver ? before : before + text,
    tokens,
    ...(message.reasoning ? { reasoning: message.reasoning } : {}),
  };
  put({ ...conversation, leaf: message.parent });
  answer(id, sampling, begun, isOver);
}

/** Goes on with an answer that was stopped, cut off or too long. */
export function resume(id: string, message: Message, sampling: Sampling) {
  const conversation = find(id);
  if (!conversation) return;
  const { content, tokens, reasoning } = message;
  put({ ...conversation, leaf: message.parent });
  answer(id, sampling, { content, ...(tokens ? { tokens } : {}), ...(reasoning ? { reasoning } : {}) });
}

/** Adds an answer to the end of a conversation and streams it. It may have begun already. */
function answer(id: string, given: Sampling, begun: Partial<Message> = {}, isOver = false) {
  const conversation = find(id);
  if (!conversation) return;
  const sampling = seeded(given);
  const message: Message = {
    id: newId(),
    parent: conversation.leaf,
    role: "assistant",
    content: "",
    model: sampling.model,
    stats: {},
    ...begun,
    state: isOver ? "done" : "streaming",
  };
  put(withMessage(conversation, message));
  if (!isOver) void stream(id, message, sampling);
}

async function stream(id: string, message: Message, sampling: Sampling & { seed: number }) {
  const controller = new AbortController();
  running.set(message.id, controller);
  announce(texts.message.begun);
  const text = emptyAnswer(message.content, message.tokens);
  text.reasoning = message.reasoning ?? "";
  let stored = performance.now();
  const update = (more: Partial<Message> = {}) => {
    const { content, reasoning, calls, tokens, stats, finish } = text;
    const now: Partial<Message> = {
      content,
      stats: { ...stats },
      ...(reasoning ? { reasoning } : {}),
      ...(calls.length ? { calls: calls.map((call) => ({ ...call })) } : {}),
      ...(tokens.length ? { tokens: [...tokens] } : {}),
      ...(finish ? { finish } : {}),
      ...more,
    };
    change(id, (conversation) => withChange(conversation, message.id, now));
    const conversation = find(id);
    const isDue = performance.now() - stored > STORE_EVERY_MS;
    if (conversation && (isDue || more.state)) {
      stored = performance.now();
      void save(conversation);
    }
  };
  const drawing = frames(update);
  let end: Partial<Message>;
  try {
    const conversation = find(id);
    if (!conversation) return;
    const continues = message.content !== "";
    const shown = path(conversation, continues ? message.id : message.parent);
    const messages = wireMessages(conversation.system, shown);
    const request = { messages, sampling, recordsTokens: recordsTokens.value, continues, ...(tools.value.isOn ? { tools: toolList(tools.value.json) } : {}) };
    await streamChat(request, text, drawing.request, controller.signal);
    end = { state: "done" };
    announce(texts.message.ended);
  } catch (error) {
    end = isAbort(error)
      ? { state: "stopped" }
      : { state: "failed", error: error instanceof Error ? error.message : String(error) };
    announce(end.error ?? texts.message.stopped);
  } finally {
    running.delete(message.id);
    drawing.cancel();
  }
  update(end);
}
