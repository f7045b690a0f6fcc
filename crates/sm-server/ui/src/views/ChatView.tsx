// A conversation.

import { useId, useLayoutEffect, useRef, useState } from "preact/hooks";

import * as chats from "../chats";
import { path } from "../conversation";
import { Composer, Examples, focusInput } from "../parts/Composer";
import { MessageView } from "../parts/MessageView";
import { samplingOf } from "../preferences";
import { type Tab, defaultsOf } from "../tabs";
import { texts } from "../texts";

/** How close to the end the page must be to follow a growing answer. */
const NEAR_END_PX = 80;

export function ChatView({ tab, id }: { tab: Tab; id: string | undefined }) {
  const [draft, setDraft] = useState("");
  // The system prompt of a conversation that has not begun.
  const [system, setSystem] = useState("");
  const conversation = id ? chats.find(id) : undefined;
  const sampling = samplingOf(tab.id, defaultsOf(tab));
  const messages = conversation ? path(conversation) : [];
  const isBusy = messages.at(-1)?.state === "streaming";
  const scroller = useFollowing(conversation?.id, messages);
  const send = () => {
    chats.send(conversation?.id, system, draft, sampling);
    setDraft("");
    setSystem("");
  };
  return (
    <div class="view chat">
      <div class="scroller" ref={scroller}>
        <div class="column">
          <SystemPrompt
            key={conversation?.id ?? "new"}
            value={conversation?.system ?? system}
            onChange={(text) => (conversation ? chats.setSystem(conversation.id, text) : setSystem(text))}
          />
          {conversation && messages.map((message, index) => (
            <MessageView
              key={message.id}
              conversation={conversation}
              message={message}
              sampling={sampling}
              isLast={index === messages.length - 1}
            />
          ))}
          {messages.length === 0 && (
            <div class="welcome">
              <h2>{tab.about}</h2>
              <Examples
                list={tab.examples ?? []}
                onChoose={(text) => {
                  setDraft(text);
                  focusInput();
                }}
              />
            </div>
          )}
        </div>
      </div>
      <div class="column foot">
        {chats.storageProblem.value && <p class="note">{chats.storageProblem.value}</p>}
        <Composer
          value={draft} onInput={setDraft} onSubmit={send} isBusy={isBusy}
          onStop={() => conversation && chats.stopAll(conversation.id)}
          label={texts.composer.label} placeholder={tab.placeholder} submit={texts.composer.send}
        />
      </div>
    </div>
  );
}

/** Keeps the end of a growing answer in view, unless people have scrolled away from it. */
function useFollowing(id: string | undefined, messages: unknown[]) {
  const scroller = useRef<HTMLDivElement>(null);
  const shown = useRef<{ id: string | undefined; n: number; isNear: boolean }>({ id: undefined, n: 0, isNear: true });
  const element = scroller.current;
  if (element) shown.current.isNear = element.scrollHeight - element.scrollTop - element.clientHeight < NEAR_END_PX;
  useLayoutEffect(() => {
    const { id: before, n, isNear } = shown.current;
    const isOther = before !== id || messages.length > n;
    if (scroller.current && (isOther || isNear)) scroller.current.scrollTop = scroller.current.scrollHeight;
    shown.current = { id, n: messages.length, isNear };
  });
  return scroller;
}

function SystemPrompt({ value, onChange }: { value: string; onChange: (text: string) => void }) {
  const id = useId();
  return (
    <details class="system">
      <summary>{texts.composer.system}{value.trim() && <span class="badge">1</span>}</summary>
      <label class="hint" for={id}>{texts.composer.systemHint}</label>
      <textarea id={id} rows={3} value={value} onInput={(event) => onChange(event.currentTarget.value)} />
    </details>
  );
}
