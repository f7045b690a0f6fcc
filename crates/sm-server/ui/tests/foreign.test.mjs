// The page on its own port, against servers that are hostile, slow, dying, or gone.

import assert from "node:assert/strict";
import { test } from "node:test";

import { answered, answers, ask, chunk, open, pageFor, serve, set, start, whole } from "./support.mjs";

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

const HOSTILE = [
  "<script>window.hacked = 1</script>",
  "<img src=x onerror='window.hacked = 2'><img src='http://evil.example/pixel'>",
  "<svg onload='window.hacked = 3'><style>*{background:url(http://evil.example/style)}</style></svg>",
  "<iframe srcdoc='<script>parent.hacked = 4</script>'></iframe>",
  "<a href='javascript:window.hacked = 5'>one</a> [two](javascript:window.hacked=6) [three](data:text/html,x)",
  "![picture](http://evil.example/image.png)",
  "<form action='http://evil.example'><input name=key autofocus onfocus='window.hacked = 7'><button>send</button></form>",
  "<div id=app class=remedy style='position:fixed;inset:0'>covered</div>",
  "$\\href{javascript:window.hacked=8}{x}$ $\\htmlStyle{background:url(http://evil.example/tex)}{x}$ $\\def\\a{\\a\\a}\\a$",
  "<math><mtext><table><mglyph><style><img src=x onerror='window.hacked=9'></style></mglyph></table></mtext></math>",
  "```html\n<script>window.hacked = 10</script>\n```",
  '```"><img src=x onerror=window.hacked=11>\ncode\n```',
].join("\n\n");

test("nothing in an answer runs, loads or covers the page", async () => {
  const { url, server } = await pageFor((response) => whole(response, HOSTILE));
  const { page, faults } = await open(url, { origins: [server.url] });
  await ask(page, "Hello");
  await answers(page).getByText("picture").click({ trial: true });
  await sleep(500);
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  const answer = answers(page).last().locator(".markdown");
  const forbidden = "script, img, svg:not(.katex *), iframe, form, style, object, embed, [onerror], [onload], [onfocus], #app, .remedy";
  assert.equal(await answer.locator(forbidden).count(), 0);
  for (const href of await answer.locator("a").evaluateAll((links) => links.map((link) => link.getAttribute("href")))) {
    assert(href === null || href.startsWith("http"), href);
  }
  assert.match(await answer.locator("pre").first().innerText(), /<script>window.hacked = 10/);
  // As a title, and after it was stored.
  await ask(page, "<img src=x onerror='window.hacked = 12'>");
  await page.reload();
  await answers(page).last().waitFor();
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  assert.deepEqual(faults, []);
});

test("formulas, code and tables are rendered", async () => {
  const text = [
    "The roots are $x = \\frac{-b \\pm \\sqrt{b^2 - 4ac}}{2a}$, and it costs $5 or $6.",
    "\\[ \\int_0^1 x^2 \\, dx = \\tfrac13 \\]",
    "$$\n\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}\n$$",
    "```python\ndef add(a, b):\n    return a + b  # sum\n```",
    "| a | b |\n|---|---|\n| 1 | 2 |",
    "- [x] done",
  ].join("\n\n");
  const { url, server } = await pageFor((response) => whole(response, text));
  const { page, faults } = await open(url, { origins: [server.url] });
  await ask(page, "Hello");
  const answer = answers(page).last();
  assert.equal(await answer.locator(".katex").count(), 3);
  assert.equal(await answer.locator(".katex-display").count(), 2);
  assert.match(await answer.innerText(), /it costs \$5 or \$6/);
  // Styles that the policy had refused would leave everything on one line.
  const height = await answer.locator(".katex-html").first().evaluate((element) => element.getBoundingClientRect().height);
  assert(height > 20, `${height}`);
  assert.equal(await answer.locator(".hljs-keyword").first().innerText(), "def");
  await answer.getByRole("button", { name: "Copy" }).first().click();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), "def add(a, b):\n    return a + b  # sum\n");
  assert.equal(await answer.locator("td").count(), 2);
  assert.deepEqual(faults, []);
});

test("a server that dies in mid-stream leaves what has arrived, and an answer that can go on", async () => {
  const { url, server } = await pageFor(async (response, body, n) => {
    if (n > 1) return whole(response, " and went on.");
    response.write(chunk({ content: "It began" }));
    await sleep(200);
    response.destroy();
  });
  const { page } = await open(url, { origins: [server.url] });
  await ask(page, "Hello");
  await page.getByRole("alert").getByText("The connection broke off").waitFor();
  assert.match(await answers(page).innerText(), /It began/);
  await page.getByRole("button", { name: "Continue" }).click();
  await answered(page);
  assert.match(await answers(page).last().innerText(), /It began and went on\./);
  assert.deepEqual(server.requests[1].body.messages.at(-1), { role: "assistant", content: "It began" });
});

test("a stream that ends early, an error in a stream, and a refusal are told apart", async () => {
  const { url, server } = await pageFor((response, body, n) => {
    if (n === 1) return response.end(chunk({ content: "Half" }));
    return response.end(`data: ${JSON.stringify({ error: { message: "the engine is gone" } })}\n\n`);
  });
  const { page } = await open(url, { origins: [server.url] });
  await ask(page, "Hello");
  await page.getByRole("alert").getByText("broke off").waitFor();
  await ask(page, "Hello");
  await page.getByRole("alert").getByText("the engine is gone").waitFor();
});

test("a slow server is waited for, and can be given up", async () => {
  let isClosed = false;
  const { url, server } = await pageFor(async (response, body, n) => {
    response.on("close", () => (isClosed = true));
    response.write(": waiting\n\n");
    if (n > 1) return;
    await sleep(1500);
    for (const part of ["One", " mark", " at a", " ti", "me."]) {
      const line = chunk({ content: part });
      // Events that arrive in pieces.
      response.write(line.slice(0, 20));
      await sleep(50);
      response.write(line.slice(20));
    }
    response.end(`${chunk({}, "stop")}data: [DONE]\n\n`);
  });
  const { page } = await open(url, { origins: [server.url] });
  await page.getByRole("textbox", { name: "Message" }).fill("Hello");
  await page.getByRole("button", { name: "Send", exact: true }).click();
  await page.getByText("Waiting for the first token…").waitFor();
  await answered(page);
  assert.match(await answers(page).innerText(), /One mark at a time\./);
  assert.match(await answers(page).locator(".stats").innerText(), /First token\s+[1-9]\.\d+ s/);
  await page.getByRole("textbox", { name: "Message" }).fill("Again");
  await page.getByRole("button", { name: "Send", exact: true }).click();
  await page.getByText("Waiting for the first token…").waitFor();
  isClosed = false;
  await page.getByRole("button", { name: "Stop", exact: true }).click();
  await answers(page).getByText("Stopped").waitFor();
  await sleep(200);
  assert(isClosed, "the request was not given up");
});

test("reasoning is folded, and goes back with the message", async () => {
  const { url, server } = await pageFor((response) => {
    response.write(chunk({ reasoning_content: "First I think." }));
    whole(response, "Then I speak.");
  });
  const { page } = await open(url, { origins: [server.url] });
  await ask(page, "Hello");
  const thoughts = answers(page).first().getByText("First I think.");
  assert(!(await thoughts.isVisible()));
  await page.getByText("Reasoning", { exact: true }).first().click();
  assert(await thoughts.isVisible());
  await ask(page, "More");
  assert.equal(server.requests[1].body.messages[1].reasoning_content, "First I think.");
});

test("tools are off until they are switched on, and people answer their calls", async () => {
  const { url, server } = await pageFor((response, { tools }, n) => {
    if (!tools || n > 2) return whole(response, n > 2 ? "It rains in Graz." : "No tools.");
    const call = { index: 0, id: "c1", function: { name: "weather", arguments: '{"city":' } };
    response.write(chunk({ tool_calls: [call] }));
    response.write(chunk({ tool_calls: [{ index: 0, function: { arguments: ' "Graz"}' } }] }));
    response.end(`${chunk({}, "tool_calls")}data: [DONE]\n\n`);
  });
  const { page } = await open(url, { origins: [server.url] });
  await ask(page, "Hello");
  assert.equal(server.requests[0].body.tools, undefined);
  const panel = await set(page, {});
  await panel.getByRole("checkbox", { name: "Let the model call tools" }).check();
  await ask(page, "The weather in Graz?");
  await page.getByText("The model calls weather").waitFor();
  await page.getByRole("textbox", { name: "Result: weather" }).fill("rain");
  await page.getByRole("button", { name: "Send results" }).click();
  await page.getByText("It rains in Graz.").waitFor();
  const { messages } = server.requests[2].body;
  assert.deepEqual(messages.at(-1), { role: "tool", content: "rain", tool_call_id: "c1" });
  assert.deepEqual(messages.at(-2).tool_calls, [
    { id: "c1", type: "function", function: { name: "weather", arguments: '{"city": "Graz"}' } },
  ]);
  await panel.getByRole("textbox", { name: /Tools, as a JSON list/ }).fill("{");
  await page.getByText("The list of tools cannot be used").waitFor();
});

test("a server that is gone is said to be, with what to do, and found again", async () => {
  const gone = await start("ui", "--port", "0", "--api-url", "http://127.0.0.1:9", "-q");
  const { page } = await open(gone.url, { origins: ["http://127.0.0.1:9"] });
  await page.getByRole("alert").getByText(`sm serve --cors-allow-origin ${gone.url}`).waitFor();
  const server = await serve();
  const { page: same } = await open(server.url);
  await same.getByText("Ready").waitFor();
  server.end();
  await same.getByRole("alert").getByText("The server cannot be reached").waitFor();
  await same.getByText("sm serve", { exact: true }).waitFor();
  const port = new URL(server.url).port;
  await start("serve", "--port", port, "-q");
  await same.getByText("Ready").waitFor();
  assert.equal(await same.getByRole("alert").count(), 0);
});

test("the page on its own port works with a server that allows it, and asks nobody else", async () => {
  const port = 20_000 + (process.pid % 20_000);
  const server = await serve("--cors-allow-origin", `http://127.0.0.1:${port}`);
  const { url } = await start("ui", "--port", String(port), "--api-url", server.url, "-q");
  const { page, faults } = await open(url, { origins: [server.url] });
  await page.getByText("Ready").waitFor();
  await set(page, { Temperature: 0 });
  await ask(page, "What is 17 + 25?");
  assert.match(await answers(page).innerText(), /42/);
  for (const [view, button] of [["Math", "Solve"], ["Engine", null]]) {
    await page.getByRole("link", { name: view, exact: true }).click();
    if (!button) continue;
    await page.getByRole("button", { name: "What is 17 + 25?" }).click();
    await page.getByRole("button", { name: button, exact: true }).click();
    await page.getByRole("region", { name: "Answer" }).getByText("42").waitFor();
  }
  await page.getByRole("img", { name: /Running requests: now/ }).waitFor();
  assert.deepEqual(faults, []);
});

test("a server with keys asks for one, which the browser keeps", async () => {
  const server = await serve("--api-key", "open sesame");
  const { page } = await open(server.url);
  await page.getByRole("alert").getByText("The server asks for an API key").waitFor();
  await page.getByRole("button", { name: "Open preferences" }).click();
  await page.getByLabel("API key").fill("open sesame");
  await page.getByRole("button", { name: "Close", exact: true }).click();
  await page.getByText("Ready").waitFor();
  await page.reload();
  await page.getByText("Ready").waitFor();
  await set(page, { Temperature: 0 });
  await ask(page, "What is 1 + 1?");
  assert.match(await answers(page).innerText(), /2/);
});
