// A text in Markdown, which may still be growing.

import { useLayoutEffect, useRef } from "preact/hooks";

import { blocks } from "../markdown";

/** Renders the blocks that have changed since the last time, and keeps the others, with what is selected in them. */
export function Markdown({ text }: { text: string }) {
  const frame = useRef<HTMLDivElement>(null);
  const drawn = useRef<string[]>([]);
  useLayoutEffect(() => {
    const parent = frame.current;
    if (!parent) return;
    const now = blocks(text);
    now.forEach(({ raw, render }, index) => {
      if (drawn.current[index] === raw) return;
      const block = document.createElement("div");
      block.className = "block";
      block.append(render());
      const before = parent.children[index];
      before ? before.replaceWith(block) : parent.append(block);
    });
    while (parent.children.length > now.length) parent.lastElementChild?.remove();
    drawn.current = now.map(({ raw }) => raw);
  }, [text]);
  return <div class="markdown" ref={frame} />;
}

