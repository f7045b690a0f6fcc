// Where people write: a field that grows with its text.

import type { ComponentChildren } from "preact";
import { useId, useLayoutEffect, useRef } from "preact/hooks";

import { texts } from "../texts";
import { Icon } from "./Icon";

interface Props {
  value: string;
  onInput: (value: string) => void;
  onSubmit: () => void;
  onStop?: () => void;
  isBusy: boolean;
  label: string;
  placeholder?: string | undefined;
  submit: string;
  children?: ComponentChildren;
}

export function Composer({ value, onInput, onSubmit, onStop, isBusy, label, placeholder, submit, children }: Props) {
  const id = useId();
  const field = useRef<HTMLTextAreaElement>(null);
  useLayoutEffect(() => {
    const element = field.current;
    if (!element) return;
    element.style.height = "auto";
    element.style.height = `${element.scrollHeight}px`;
  }, [value]);
  const canSubmit = !isBusy && value.trim() !== "";
  const press = (event: KeyboardEvent) => {
    // Enter also ends the input of characters that take several keys.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (canSubmit) onSubmit();
  };
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        if (canSubmit) onSubmit();
      }}
    >
      <label class="visually-hidden" for={id}>{label}</label>
      <textarea
        id={id} ref={field} rows={1} value={value} placeholder={placeholder} data-main-input
        aria-describedby={`${id}-hint`}
        onInput={(event) => onInput(event.currentTarget.value)} onKeyDown={press}
      />
      <div class="composer-foot">
        <span class="hint" id={`${id}-hint`}>{texts.composer.hint}</span>
        {children}
        {isBusy ? (
          <button type="button" class="primary" onClick={onStop}><Icon name="stop" />{texts.composer.stop}</button>
        ) : (
          <button type="submit" class="primary" disabled={!canSubmit}><Icon name="send" />{submit}</button>
        )}
      </div>
    </form>
  );
}

/** Examples, of which one fills the field. */
export function Examples({ list, onChoose }: { list: string[]; onChoose: (text: string) => void }) {
  if (list.length === 0) return null;
  return (
    <ul class="examples" aria-label={texts.composer.examples}>
      {list.map((text) => (
        <li key={text}><button type="button" class="example" onClick={() => onChoose(text)}>{text}</button></li>
      ))}
    </ul>
  );
}

/** Puts the cursor where people write. */
export const focusInput = () => document.querySelector<HTMLElement>("[data-main-input]")?.focus();
