// The tokens of an answer, coloured by probability, with what else was likely at each place.

import { useRef, useState } from "preact/hooks";

import { type Alternative, type Token, isEnd } from "../answer";
import { texts } from "../texts";

const probability = ({ logprob }: Alternative) => Math.exp(logprob);

const percent = (share: number) => `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;

/** One of ten classes of colours. */
const shade = (token: Alternative) => `p${Math.min(9, Math.floor(probability(token) * 10))}`;

/** A token as people can see it. */
function shown(text: string) {
  if (isEnd(text)) return texts.tokens.end;
  return text.replace(/\n/g, "⏎").replace(/\t/g, "⇥").replace(/^ | $/g, "␣");
}

/** Whether a token's text is whole characters. */
const isWhole = (text: string) => !text.includes("\ufffd");

interface Props {
  tokens: Token[];
  /** Continues from a token with another text in its place. */
  onChoose?: (index: number, text: string) => void;
}

export function Tokens({ tokens, onChoose }: Props) {
  const [chosen, choose] = useState<number | null>(null);
  const frame = useRef<HTMLDivElement>(null);
  // One stop of the Tab key for all tokens; the arrow keys move between them.
  const move = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const buttons = [...(frame.current?.querySelectorAll("button") ?? [])];
    const at = buttons.indexOf(document.activeElement as HTMLButtonElement);
    const next = step === undefined ? undefined : buttons[at + step];
    if (!next) return;
    event.preventDefault();
    next.focus();
    choose(at + (step ?? 0));
  };
  const token = chosen === null ? undefined : tokens[chosen];
  return (
    <div class="token-view">
      <p class="hint">{texts.tokens.help}</p>
      <div class="tokens" role="group" aria-label={texts.tokens.label} ref={frame} onKeyDown={move}>
        {tokens.map((each, index) => (
          <button
            key={index}
            type="button"
            class={`token ${shade(each)} ${each.isThought ? "thought" : ""}`}
            tabIndex={index === (chosen ?? 0) ? 0 : -1}
            aria-pressed={index === chosen}
            title={percent(probability(each))}
            onClick={() => choose(index === chosen ? null : index)}
          >
            {each.text.replace(/\n/g, "⏎\n") || "∅"}
          </button>
        ))}
      </div>
      {token && chosen !== null && (
        <Alternatives token={token} onChoose={onChoose && ((text) => onChoose(chosen, text))} />
      )}
    </div>
  );
}

function Alternatives({ token, onChoose }: { token: Token; onChoose?: ((text: string) => void) | undefined }) {
  const isListed = token.alternatives.some(({ text }) => text === token.text);
  const list = isListed ? token.alternatives : [...token.alternatives, token];
  return (
    <div class="alternatives" role="group" aria-label={texts.tokens.alternatives(shown(token.text))}>
      {list.map((each) => {
        const share = probability(each);
        const canContinue = onChoose && !token.isThought && isWhole(each.text);
        return (
          <button
            key={each.text}
            type="button"
            class="alternative"
            disabled={!canContinue}
            title={isWhole(each.text) ? undefined : texts.tokens.partial}
            onClick={() => onChoose?.(each.text)}
          >
            <code>{shown(each.text)}</code>
            {each.text === token.text && <span class="badge">{texts.tokens.chosen}</span>}
            <svg class="meter" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">
              <rect class="meter-track" width="100" height="6" />
              <rect class="meter-value" width={Math.max(1, share * 100)} height="6" />
            </svg>
            <span class="share">{percent(share)}</span>
          </button>
        );
      })}
    </div>
  );
}
