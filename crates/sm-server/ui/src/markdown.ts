// From Markdown to elements.
//
// An answer is foreign text. HTML in it is shown as it is, except for a few tags that only format; and all passes a sanitizer that keeps
// formatting and nothing else: no images, which would be loaded from wherever the text says, no ids, and no classes but our own.
// Formulas are built element by element, since the page's policy allows
// no style attributes, only styles that its own script sets.

import DOMPurify from "dompurify";
import katex from "katex";
import { Marked, type TokenizerAndRendererExtension, type Tokens } from "marked";

import { highlight } from "./highlight";
import { texts } from "./texts";

const escape = (text: string) =>
  text.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c] ?? c);

/** A formula waits in an attribute until the text around it is sanitized. */
const formula = (tex: string, isDisplay: boolean) =>
  `<span class="math" data-tex="${escape(tex)}" data-display="${isDisplay}"></span>`;

interface FormulaToken extends Tokens.Generic {
  tex: string;
}

/** `$$…$$` and `\[…\]` as blocks. */
const blockFormula: TokenizerAndRendererExtension = {
  name: "blockFormula",
  level: "block",
  start: (source) => source.match(/\$\$|\\\[/)?.index,
  tokenizer(source): FormulaToken | undefined {
    const found = /^ {0,3}(?:\$\$([^$]+?)\$\$|\\\[([\s\S]+?)\\\])[ \t]*(?:\n|$)/.exec(source);
    if (!found) return undefined;
    return { type: "blockFormula", raw: found[0], tex: (found[1] ?? found[2] ?? "").trim() };
  },
  renderer: (token) => `<p>${formula((token as FormulaToken).tex, true)}</p>`,
};

/** `$…$` and `\(…\)`. A dollar beside a space or a digit is money. */
const inlineFormula: TokenizerAndRendererExtension = {
  name: "inlineFormula",
  level: "inline",
  start: (source) => source.match(/\$|\\[([]/)?.index,
  tokenizer(source): FormulaToken | undefined {
    const display = /^(?:\$\$([^$]+?)\$\$|\\\[([\s\S]+?)\\\])/.exec(source);
    if (display) return { type: "inlineFormula", raw: display[0], tex: display[1] ?? display[2] ?? "", display: true };
    const found = /^(?:\$((?:[^$\\\n]|\\.)+?)\$(?!\d)|\\\(([\s\S]+?)\\\))/.exec(source);
    const tex = found?.[1] ?? found?.[2];
    if (!found || tex === undefined || (found[1] !== undefined && /^\s|\s$/.test(tex))) return undefined;
    return { type: "inlineFormula", raw: found[0], tex };
  },
  renderer: (token) => formula((token as FormulaToken).tex, token.display === true),
};

/** Tags without attributes that models write between Markdown. */
const FORMATTING = /(<\/?(?:b|br|details|em|i|kbd|mark|s|strong|sub|summary|sup|u)\s*\/?>)/i;

/** HTML as text, but for such tags. */
const shownHtml = (html: string) =>
  html.split(FORMATTING).map((part, index) => (index % 2 === 1 ? part : escape(part))).join("");

const marked = new Marked({
  gfm: true,
  // Models end lines where they want them to end.
  breaks: true,
  extensions: [blockFormula, inlineFormula],
  renderer: {
    // The page has the headings of higher levels.
    heading({ tokens, depth }) {
      const level = Math.min(depth + 2, 6);
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>`;
    },
    html: ({ text }) => shownHtml(text),
    image: ({ href, text }) => `<a href="${escape(href)}">${escape(text || href)}</a>`,
  },
});

/** Attributes whose values are no addresses. */
const PLAIN_ATTRIBUTES = "title class align start type checked disabled colspan rowspan data-tex data-display".split(" ");

const PURIFY = {
  ALLOWED_TAGS: (
    "p br hr h1 h2 h3 h4 h5 h6 strong em b i u s del ins sub sup kbd mark q code pre blockquote ul ol li dl dt dd " +
    "table thead tbody tr th td a span details summary input"
  ).split(" "),
  ALLOWED_ATTR: ["href", ...PLAIN_ATTRIBUTES],
  ADD_URI_SAFE_ATTR: PLAIN_ATTRIBUTES,
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  RETURN_DOM_FRAGMENT: true as const,
};

const OWN_CLASS = /^(?:math|language-[\w+#.-]+|hljs-[\w-]+(?: [\w-]+_)*)$/;

DOMPurify.addHook("uponSanitizeAttribute", (_, attribute) => {
  if (attribute.attrName === "class") attribute.keepAttr = OWN_CLASS.test(attribute.attrValue);
});

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName === "A") {
    node.setAttribute("target", "_blank");
    node.setAttribute("rel", "noopener noreferrer nofollow");
  }
  // Of the fields of forms, only the boxes of task lists.
  if (node.tagName === "INPUT") {
    node.setAttribute("type", "checkbox");
    node.setAttribute("disabled", "");
  }
});

/** HTML from a library, as elements. */
export const sanitized = (html: string): DocumentFragment => DOMPurify.sanitize(html, PURIFY);

/** Blocks of Markdown, each with its source: those that have not changed need not be rendered again while a text grows. */
export function blocks(source: string): { raw: string; render: () => DocumentFragment }[] {
  const tokens = marked.lexer(source);
  const of = (token: (typeof tokens)[number]) => ({
    raw: token.raw,
    render: () => finish(sanitized(marked.parser([token]))),
  });
  return tokens.filter(({ type }) => type !== "space").map(of);
}

function finish(fragment: DocumentFragment): DocumentFragment {
  fragment.querySelectorAll<HTMLElement>("span[data-tex]").forEach(renderFormula);
  fragment.querySelectorAll<HTMLElement>("pre > code").forEach((code) => {
    const language = /language-(\S+)/.exec(code.className)?.[1];
    code.parentElement?.replaceWith(codeBlock(code.textContent ?? "", language));
  });
  fragment.querySelectorAll("table").forEach((table) => {
    const frame = document.createElement("div");
    frame.className = "table-frame";
    frame.tabIndex = 0;
    table.replaceWith(frame);
    frame.append(table);
  });
  return fragment;
}

function renderFormula(element: HTMLElement) {
  const { tex = "", display } = element.dataset;
  element.removeAttribute("data-tex");
  element.removeAttribute("data-display");
  try {
    // Bounds, since macros can define what grows without end.
    const options = { displayMode: display === "true", trust: false, strict: "ignore", maxExpand: 500, maxSize: 40 } as const;
    katex.render(tex, element, options);
  } catch {
    element.className = "math-source";
    element.textContent = tex;
  }
}

/** Code with its language and a button that copies it. */
export function codeBlock(source: string, language?: string): HTMLElement {
  const frame = document.createElement("div");
  frame.className = "code";
  const head = document.createElement("div");
  head.className = "code-head";
  const name = document.createElement("span");
  name.textContent = language ?? texts.message.code;
  const copy = document.createElement("button");
  copy.type = "button";
  copy.className = "quiet";
  copy.textContent = texts.message.copy;
  copy.addEventListener("click", () => void copied(copy, source));
  head.append(name, copy);
  const pre = document.createElement("pre");
  pre.tabIndex = 0;
  const code = document.createElement("code");
  const html = highlight(source, language);
  code.append(html === undefined ? source : sanitized(html));
  pre.append(code);
  frame.append(head, pre);
  return frame;
}

async function copied(button: HTMLButtonElement, text: string) {
  await copyText(text);
  button.textContent = texts.message.copied;
  setTimeout(() => (button.textContent = texts.message.copy), 1500);
}

/** Copies a text, also where the page is served without TLS from another machine and has no clipboard. */
export async function copyText(text: string) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "visually-hidden";
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
