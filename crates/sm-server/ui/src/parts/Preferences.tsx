// Preferences: the key, the appearance, and conversations as files.

import { signal } from "@preact/signals";
import { useEffect, useId, useRef, useState } from "preact/hooks";

import { addImported, conversations } from "../chats";
import { type Theme, apiKey, theme } from "../preferences";
import { apiUrl, config } from "../tabs";
import { texts } from "../texts";
import { exported, imported } from "../transfer";

const isOpen = signal(false);
export const openPreferences = () => {
  isOpen.value = true;
};

export function Preferences() {
  const dialog = useRef<HTMLDialogElement>(null);
  const open = isOpen.value;
  useEffect(() => {
    if (open) dialog.current?.showModal();
    else dialog.current?.close();
  }, [open]);
  const t = texts.preferences;
  const close = () => {
    isOpen.value = false;
  };
  const id = useId();
  return (
    <dialog ref={dialog} onClose={close} aria-labelledby={id}>
      <h2 id={id}>{t.title}</h2>
      <Key />
      <Appearance />
      <Files />
      <section>
        <h3>{t.keyboard}</h3>
        <dl class="shortcuts">
          {t.shortcuts.map(([key, what]) => <div key={key}><dt><kbd>{key}</kbd></dt><dd>{what}</dd></div>)}
        </dl>
      </section>
      <p class="hint">
        {t.version(config.value.version)} · <a href="ui/licences.txt" target="_blank">{t.licences}</a> ·{" "}
        <a href={`${apiUrl()}/docs`} target="_blank" rel="noopener">{t.endpoints}</a>
      </p>
      <div class="actions end"><button type="button" class="primary" onClick={close}>{t.close}</button></div>
    </dialog>
  );
}

function Key() {
  const id = useId();
  const t = texts.preferences;
  return (
    <div class="field">
      <label for={id}>{t.key}</label>
      <input
        id={id} type="password" autocomplete="off" value={apiKey.value} aria-describedby={`${id}-hint`}
        onChange={(event) => (apiKey.value = event.currentTarget.value.trim())}
      />
      <p class="hint" id={`${id}-hint`}>{t.keyHint}</p>
    </div>
  );
}

function Appearance() {
  const id = useId();
  const t = texts.preferences;
  return (
    <div class="field">
      <label for={id}>{t.theme}</label>
      <select id={id} value={theme.value} onChange={(event) => (theme.value = event.currentTarget.value as Theme)}>
        <option value="auto">{t.themeAuto}</option>
        <option value="light">{t.themeLight}</option>
        <option value="dark">{t.themeDark}</option>
      </select>
    </div>
  );
}

function Files() {
  const [outcome, setOutcome] = useState("");
  const field = useRef<HTMLInputElement>(null);
  const t = texts.preferences;
  const take = async (file: File | undefined) => {
    if (!file) return;
    try {
      const list = imported(await file.text());
      addImported(list);
      setOutcome(t.imported(list.length));
    } catch (error) {
      setOutcome(t.importWrong(error instanceof Error ? error.message : String(error)));
    }
  };
  return (
    <section>
      <h3>{t.data}</h3>
      <div class="actions">
        <button type="button" class="quiet" onClick={() => save("smallmind-conversations.json", exported(conversations.value))}>{t.export}</button>
        <button type="button" class="quiet" onClick={() => field.current?.click()}>{t.import}</button>
        <input
          ref={field} type="file" accept="application/json,.json" hidden aria-label={t.import}
          onChange={(event) => {
            void take(event.currentTarget.files?.[0]);
            event.currentTarget.value = "";
          }}
        />
      </div>
      <p class="hint" role="status">{outcome}</p>
    </section>
  );
}

function save(name: string, text: string) {
  const link = document.createElement("a");
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.href = url;
  link.download = name;
  link.click();
  // The download has its own hold on the data once it has begun.
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
