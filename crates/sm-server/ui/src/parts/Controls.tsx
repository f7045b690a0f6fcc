// The settings of answers.

import { useId } from "preact/hooks";

import { type Sampling, type Thinking, recordsTokens, toolList, tools } from "../preferences";
import { models } from "../status";
import { texts } from "../texts";

interface Props {
  sampling: Sampling;
  onChange: (change: Partial<Sampling>) => void;
  onReset: () => void;
  /** Whether the answers are chats, which can have tools and token probabilities. */
  isChat?: boolean;
  /** Hides what both sides of a comparison share. */
  withoutSeed?: boolean;
}

export function Controls({ sampling, onChange, onReset, isChat, withoutSeed }: Props) {
  const t = texts.controls;
  return (
    <div class="controls">
      <ModelField value={sampling.model} onChange={(model) => onChange({ model })} />
      <Slider
        label={t.temperature} hint={t.temperatureHint} value={sampling.temperature}
        min={0} max={1} highest={2} step={0.05} onChange={(temperature) => onChange({ temperature })}
      />
      <Slider label={t.topP} value={sampling.topP} min={0.05} max={1} step={0.05} onChange={(topP) => onChange({ topP })} />
      <Slider
        label={t.topK} hint={t.topKHint} value={sampling.topK}
        min={0} max={200} highest={100_000} step={1} onChange={(topK) => onChange({ topK })}
      />
      <Slider
        label={t.maxTokens} value={sampling.maxTokens}
        min={64} max={2048} lowest={1} highest={1_000_000} step={64} fine={1} onChange={(maxTokens) => onChange({ maxTokens })}
      />
      {!withoutSeed && <SeedField label={t.seed} value={sampling.seed} onChange={(seed) => onChange({ seed })} />}
      <ThinkingField value={sampling.thinking} onChange={(thinking) => onChange({ thinking })} />
      {isChat && <ChatOptions />}
      <button type="button" class="quiet" onClick={onReset}>{t.reset}</button>
    </div>
  );
}

function ModelField({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  const id = useId();
  const known = models.value.map((model) => model.id);
  const isGone = value !== "" && known.length > 0 && !known.includes(value);
  return (
    <div class="field">
      <label for={id}>{texts.controls.model}</label>
      <select id={id} value={value} onChange={(event) => onChange(event.currentTarget.value)}>
        <option value="">{texts.controls.serverModel}</option>
        {known.map((name) => <option key={name} value={name}>{name}</option>)}
        {isGone && <option value={value}>{value}</option>}
      </select>
    </div>
  );
}

interface SliderProps {
  label: string;
  hint?: string;
  value: number;
  /** The range of the slider. */
  min: number;
  max: number;
  step: number;
  /** The range of the field beside it, where it is wider, and its step. */
  lowest?: number;
  highest?: number;
  fine?: number;
  onChange: (value: number) => void;
}

function Slider({ label, hint, value, min, max, step, lowest = min, highest = max, fine = step, onChange }: SliderProps) {
  const id = useId();
  const change = (text: string) => {
    const number = Number(text);
    if (text !== "" && Number.isFinite(number)) onChange(Math.min(highest, Math.max(lowest, number)));
  };
  return (
    <div class="field">
      <div class="field-head">
        <label for={id}>{label}</label>
        <input
          type="number" aria-label={label} value={value} min={lowest} max={highest} step={fine}
          onChange={(event) => change(event.currentTarget.value)}
        />
      </div>
      <input
        id={id} type="range" value={value} min={min} max={max} step={step} aria-describedby={hint && `${id}-hint`}
        onInput={(event) => change(event.currentTarget.value)}
      />
      {hint && <p class="hint" id={`${id}-hint`}>{hint}</p>}
    </div>
  );
}

export function SeedField({ label, value, onChange }: { label: string; value: number | null; onChange: (value: number | null) => void }) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <input
        id={id} type="number" min={0} step={1} placeholder={texts.controls.seedHint} value={value ?? ""}
        onChange={({ currentTarget: { value: text } }) => onChange(text === "" ? null : Math.max(0, Math.trunc(Number(text))))}
      />
    </div>
  );
}

function ThinkingField({ value, onChange }: { value: Thinking; onChange: (value: Thinking) => void }) {
  const id = useId();
  const t = texts.controls;
  return (
    <div class="field">
      <label for={id}>{t.thinking}</label>
      <select id={id} value={value} onChange={(event) => onChange(event.currentTarget.value as Thinking)}>
        <option value="auto">{t.thinkingAuto}</option>
        <option value="on">{t.thinkingOn}</option>
        <option value="off">{t.thinkingOff}</option>
      </select>
    </div>
  );
}

function ChatOptions() {
  const id = useId();
  const t = texts.controls;
  const { isOn, json } = tools.value;
  return (
    <>
      <Check label={t.tokens} value={recordsTokens.value} onChange={(is) => (recordsTokens.value = is)} />
      <Check label={t.tools} value={isOn} onChange={(is) => (tools.value = { json, isOn: is })} />
      {isOn && (
        <div class="field">
          <label for={id}>{t.toolsLabel}</label>
          <textarea
            id={id} rows={8} spellcheck={false} class="mono" value={json} aria-describedby={`${id}-hint`}
            onInput={(event) => (tools.value = { isOn, json: event.currentTarget.value })}
          />
          <p class="hint" id={`${id}-hint`}>{problemOf(json) ?? t.toolsHint}</p>
        </div>
      )}
    </>
  );
}

function problemOf(json: string): string | undefined {
  try {
    toolList(json);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

export function Check({ label, value, onChange }: { label: string; value: boolean; onChange: (value: boolean) => void }) {
  return (
    <label class="check">
      <input type="checkbox" checked={value} onChange={(event) => onChange(event.currentTarget.checked)} />
      {label}
    </label>
  );
}
