// An answer of a view that keeps no conversation: it runs, can be stopped, and may fail.

import { useEffect, useRef, useState } from "preact/hooks";

import { isAbort } from "../api";
import { frames } from "../frames";
import { announce } from "../status";
import { texts } from "../texts";

export interface Run<A> {
  answer: A | undefined;
  isBusy: boolean;
  error: string;
  start: (empty: A, work: (answer: A, changed: () => void, signal: AbortSignal) => Promise<void>) => void;
  stop: () => void;
}

/** The state of an answer, which is given up when its view goes away. */
export function useRun<A extends object>(): Run<A> {
  const [answer, setAnswer] = useState<A>();
  const [isBusy, setIsBusy] = useState(false);
  const [error, setError] = useState("");
  const controller = useRef<AbortController | undefined>(undefined);
  useEffect(() => () => controller.current?.abort(), []);
  const start: Run<A>["start"] = async (empty, work) => {
    controller.current?.abort();
    const own = new AbortController();
    controller.current = own;
    setAnswer({ ...empty });
    setIsBusy(true);
    setError("");
    announce(texts.message.begun);
    const drawing = frames(() => setAnswer({ ...empty }));
    try {
      await work(empty, drawing.request, own.signal);
      announce(texts.message.ended);
    } catch (failure) {
      if (!isAbort(failure)) setError(failure instanceof Error ? failure.message : String(failure));
    }
    drawing.cancel();
    // A newer run may have taken its place.
    if (controller.current !== own) return;
    setAnswer({ ...empty });
    setIsBusy(false);
  };
  return { answer, isBusy, error, start, stop: () => controller.current?.abort() };
}
