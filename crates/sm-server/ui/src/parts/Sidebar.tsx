// The conversations.

import { useState } from "preact/hooks";

import * as chats from "../chats";
import type { Conversation } from "../conversation";
import { navigate, route } from "../route";
import { chatTab } from "../tabs";
import { texts } from "../texts";
import { Icon, IconButton } from "./Icon";

export function startConversation() {
  navigate(chatTab());
}

export function Sidebar({ onChoose }: { onChoose: () => void }) {
  const [filter, setFilter] = useState("");
  const t = texts.chats;
  const all = chats.conversations.value;
  const wanted = filter.toLowerCase();
  const list = all.filter(({ title, messages }) =>
    [title, ...messages.map(({ content }) => content)].some((text) => text.toLowerCase().includes(wanted)),
  );
  return (
    <>
      <button
        type="button" class="new"
        onClick={() => {
          startConversation();
          onChoose();
        }}
      >
        <Icon name="plus" />{t.new}
      </button>
      {all.length > 5 && (
        <input
          type="search" aria-label={t.search} placeholder={t.search} value={filter}
          onInput={(event) => setFilter(event.currentTarget.value)}
        />
      )}
      <ul class="conversations">
        {list.map((conversation) => <Entry key={conversation.id} conversation={conversation} onChoose={onChoose} />)}
      </ul>
      {all.length === 0 && <p class="hint">{t.none}</p>}
    </>
  );
}

function Entry({ conversation, onChoose }: { conversation: Conversation; onChoose: () => void }) {
  const { id } = conversation;
  const t = texts.chats;
  const title = conversation.title || t.untitled;
  const [tab, open] = route.value;
  const isOpen = tab === chatTab() && open === id;
  const rename = () => {
    const name = prompt(t.renamePrompt, title);
    if (name?.trim()) chats.rename(id, name.trim());
  };
  const remove = () => {
    if (!confirm(t.confirmDelete(title))) return;
    void chats.remove(id);
    if (isOpen) startConversation();
  };
  return (
    <li class={isOpen ? "open" : ""}>
      <a href={`#/${chatTab()}/${id}`} aria-current={isOpen ? "page" : undefined} onClick={onChoose}>{title}</a>
      <span class="entry-actions" role="group" aria-label={t.actions(title)}>
        <IconButton name="edit" label={t.rename} onClick={rename} />
        <IconButton name="trash" label={t.delete} onClick={remove} />
      </span>
    </li>
  );
}
