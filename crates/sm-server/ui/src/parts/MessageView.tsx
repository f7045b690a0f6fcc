// A message of a conversation, and what can be done with it.

import { useState } from "preact/hooks";

import type { ToolCall } from "../answer";
import * as chats from "../chats";
import { type Conversation, type Message, versions } from "../conversation";
import { copyText } from "../markdown";
import type { Sampling } from "../preferences";
import { texts } from "../texts";
import { Icon, IconButton } from "./Icon";
import { Markdown } from "./Markdown";
import { StatsLine } from "./StatsLine";
import { Tokens } from "./Tokens";

interface Props {
  conversation: Conversation;
  message: Message;
  sampling: Sampling;
  isLast: boolean;
}

export function MessageView(props: Props) {
  const { message } = props;
  switch (message.role) {
    case "user":
      return <Question {...props} />;
    case "assistant":
      return <AnswerView {...props} />;
    case "tool":
      return (
        <article class="message tool" aria-label={texts.message.tool}>
          <p class="hint">{texts.message.tool}</p>
          <pre>{message.content}</pre>
        </article>
      );
  }
}

function Question({ conversation, message, sampling }: Props) {
  const [draft, setDraft] = useState<string | null>(null);
  if (draft !== null) {
    const save = () => {
      chats.edit(conversation.id, message, draft, sampling);
      setDraft(null);
    };
    return (
      <article class="message user editing" aria-label={texts.you}>
        <textarea
          aria-label={texts.composer.label} rows={4} value={draft} ref={(field) => field?.focus()}
          onInput={(event) => setDraft(event.currentTarget.value)}
        />
        <div class="actions">
          <button type="button" class="primary" disabled={!draft.trim()} onClick={save}>{texts.composer.edit}</button>
          <button type="button" class="quiet" onClick={() => setDraft(null)}>{texts.composer.cancel}</button>
        </div>
      </article>
    );
  }
  return (
    <article class="message user" aria-label={texts.you}>
      <div class="bubble">{message.content}</div>
      <div class="actions">
        <Versions conversation={conversation} message={message} />
        <IconButton name="edit" label={texts.message.edit} onClick={() => setDraft(message.content)} />
        <CopyButton text={message.content} />
      </div>
    </article>
  );
}

function AnswerView({ conversation, message, sampling, isLast }: Props) {
  const [showsTokens, setShowsTokens] = useState(false);
  const { state, content, reasoning, tokens, calls, stats, finish } = message;
  const isStreaming = state === "streaming";
  const canResume = content !== "" && (state === "stopped" || state === "failed" || finish === "length");
  const choose = (index: number, text: string) => chats.continueFrom(conversation.id, message, index, text, sampling);
  return (
    <article class="message assistant" aria-label={texts.assistant} aria-busy={isStreaming}>
      {reasoning && <Reasoning text={reasoning} isRunning={isStreaming && content === ""} />}
      {showsTokens ? (
        tokens?.length ? <Tokens tokens={tokens} onChoose={choose} /> : <p class="hint">{texts.tokens.none}</p>
      ) : (
        <Markdown text={content} />
      )}
      {isStreaming && !content && !reasoning && <p class="waiting"><span class="dot" />{texts.message.waiting}</p>}
      {calls?.map((call) => <Call key={call.id} call={call} />)}
      {state === "stopped" && <p class="note">{texts.message.stopped}</p>}
      {state === "done" && finish === "length" && <p class="note">{texts.message.length}</p>}
      {state === "failed" && <p class="problem-note" role="alert">{message.error}</p>}
      {!isStreaming && calls?.length && isLast ? (
        <Results calls={calls} onSend={(results) => chats.sendResults(conversation.id, message, results, sampling)} />
      ) : null}
      {!isStreaming && (
        <div class="actions">
          <Versions conversation={conversation} message={message} />
          <CopyButton text={content} />
          <IconButton name="again" label={texts.message.regenerate} onClick={() => chats.regenerate(conversation.id, message, sampling)} />
          <IconButton name="bars" label={texts.message.tokens} isPressed={showsTokens} onClick={() => setShowsTokens(!showsTokens)} />
          {canResume && isLast && (
            <button type="button" class="quiet" onClick={() => chats.resume(conversation.id, message, sampling)}>
              <Icon name="play" />{texts.message.continue}
            </button>
          )}
        </div>
      )}
      {stats && !isStreaming && <StatsLine stats={stats} />}
    </article>
  );
}

export function Reasoning({ text, isRunning }: { text: string; isRunning: boolean }) {
  return (
    <details class="reasoning">
      <summary>{isRunning ? texts.message.reasoningNow : texts.message.reasoning}</summary>
      <Markdown text={text} />
    </details>
  );
}

function Call({ call }: { call: ToolCall }) {
  return (
    <div class="call">
      <p>{texts.message.callOf(call.name)}</p>
      <pre tabIndex={0}>{call.arguments}</pre>
    </div>
  );
}

function Results({ calls, onSend }: { calls: ToolCall[]; onSend: (results: [ToolCall, string][]) => void }) {
  const [results, setResults] = useState<string[]>(calls.map(() => ""));
  return (
    <form
      class="results"
      onSubmit={(event) => {
        event.preventDefault();
        onSend(calls.map((call, index) => [call, results[index] ?? ""]));
      }}
    >
      {calls.map((call, index) => (
        <label key={call.id}>
          {texts.message.result}: {call.name}
          <textarea
            rows={2} value={results[index]}
            onInput={({ currentTarget: { value } }) => setResults(results.map((result, at) => (at === index ? value : result)))}
          />
        </label>
      ))}
      <button type="submit" class="primary">{texts.message.sendResults}</button>
    </form>
  );
}

function Versions({ conversation, message }: { conversation: Conversation; message: Message }) {
  const all = versions(conversation, message);
  const at = all.findIndex(({ id }) => id === message.id);
  const [before, after] = [all[at - 1], all[at + 1]];
  if (all.length < 2) return null;
  const show = (other: Message | undefined) => other && chats.show(conversation.id, other.id);
  return (
    <span class="versions">
      <IconButton name="left" label={texts.message.previous} isDisabled={!before} onClick={() => show(before)} />
      <span aria-label={texts.message.branch(at + 1, all.length)} role="img">{at + 1}/{all.length}</span>
      <IconButton name="right" label={texts.message.next} isDisabled={!after} onClick={() => show(after)} />
    </span>
  );
}

function CopyButton({ text }: { text: string }) {
  const [isCopied, setIsCopied] = useState(false);
  const copy = async () => {
    await copyText(text);
    setIsCopied(true);
    setTimeout(() => setIsCopied(false), 1500);
  };
  return <IconButton name="copy" label={isCopied ? texts.message.copied : texts.message.copy} onClick={() => void copy()} />;
}
