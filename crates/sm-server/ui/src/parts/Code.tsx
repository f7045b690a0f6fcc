// A program apart from the text around it.

import { useLayoutEffect, useRef } from "preact/hooks";

import { codeBlock } from "../markdown";

export function Code({ source, language }: { source: string; language?: string }) {
  const frame = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => frame.current?.replaceChildren(codeBlock(source, language)), [source, language]);
  return <div ref={frame} />;
}
