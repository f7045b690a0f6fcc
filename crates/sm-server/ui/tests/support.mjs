// Servers and a browser for the tests of the page. `SM` names the program, `CHROMIUM` the browser if it is not where Debian has it.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { after } from "node:test";

import { chromium } from "playwright-core";

const PROGRAM = process.env.SM;
assert(PROGRAM, "SM must name the program; cargo xtask ui --test does that");

const BROWSER = process.env.CHROMIUM ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);
assert(BROWSER, "there is no Chromium; install it (apt-get install chromium), or name it in CHROMIUM");

export const PHONE = { width: 375, height: 812 };
export const DESK = { width: 1440, height: 900 };

/** Starts `sm` with some arguments, and gives its address once it says it. */
export async function start(...args) {
  const child = spawn(PROGRAM, args, { stdio: ["ignore", "pipe", "inherit"] });
  const end = () => {
    child.kill("SIGKILL");
  };
  after(end);
  for await (const line of createInterface({ input: child.stdout })) {
    const url = line.match(/^listening on (http\S+)/)?.[1];
    if (url) return { url, end, child };
  }
  throw new Error(`sm ${args.join(" ")} ended without an address`);
}

/** A server with the demo model, which is ready. */
export async function serve(...args) {
  const server = await start("serve", "--port", "0", "-q", ...args);
  for (let tries = 0; tries < 600; tries++) {
    if ((await fetch(`${server.url}/ready`)).ok) return server;
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Error("the model was not ready within a minute");
}

/** A stand-in for a server that answers as `answer` says: it writes what it wants to the response. */
export async function standIn(answer) {
  const requests = [];
  const json = { "content-type": "application/json" };
  const server = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = chunks.length ? JSON.parse(Buffer.concat(chunks).toString()) : undefined;
    response.setHeader("access-control-allow-origin", "*");
    response.setHeader("access-control-allow-headers", "*");
    const path = request.url.split("?")[0];
    if (request.method === "OPTIONS") return response.end();
    if (path === "/health") return response.writeHead(200, json).end('{"status":"healthy"}');
    if (path === "/v1/models") return response.writeHead(200, json).end('{"data":[{"id":"one"},{"id":"two"}]}');
    if (request.method === "GET") return response.writeHead(404, json).end('{"error":{"message":"none"}}');
    requests.push({ path, body });
    response.writeHead(200, { "content-type": "text/event-stream" });
    await answer(response, body, requests.length);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${server.address().port}`, requests };
}

/** The page on a port of its own, for a stand-in. */
export async function pageFor(answer) {
  const server = await standIn(answer);
  const page = await start("ui", "--port", "0", "--api-url", server.url, "-q");
  return { ...page, server };
}

/** Chunks of an answer, as OpenAI's API streams them. */
export const chunk = (delta, finish = null) =>
  `data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`;

export const whole = (response, text) => response.end(`${chunk({ content: text })}${chunk({}, "stop")}data: [DONE]\n\n`);

let browser;

/** A page of a fresh browser profile. Its test fails if it asks another origin, breaks its policy or logs an error. */
export async function open(url, { viewport = DESK, origins = [], ...options } = {}) {
  browser ??= chromium.launch({
    executablePath: BROWSER,
    args: ["--no-sandbox", "--disable-gpu"],
  });
  const context = await (await browser).newContext({ viewport, reducedMotion: "reduce", ...options });
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  const page = await context.newPage();
  // Ample: the tests may share their processors with a build.
  page.setDefaultTimeout(60_000);
  const allowed = [new URL(url).origin, ...origins];
  const faults = [];
  page.on("request", (request) => {
    const { origin, protocol } = new URL(request.url());
    if (protocol.startsWith("http") && !allowed.includes(origin)) faults.push(`asked ${request.url()}`);
  });
  page.on("pageerror", (error) => faults.push(`failed: ${error}`));
  page.on("console", (message) => {
    // A refusal or a server that is gone is logged by the browser itself.
    const isNetwork = /Failed to load resource|ERR_/.test(message.text());
    if (message.type() === "error" && !isNetwork) faults.push(`logged: ${message.text()}`);
  });
  await page.goto(url);
  await page.getByRole("navigation", { name: "Views" }).waitFor();
  return { page, context, faults };
}

after(async () => {
  await (await browser)?.close();
});

/** Asks something in the conversation that is open, and waits for the whole answer. */
export async function ask(page, text) {
  await page.getByRole("textbox", { name: "Message" }).fill(text);
  await page.getByRole("button", { name: "Send", exact: true }).click();
  await answered(page);
}

/** Waits until nothing runs any more. */
export async function answered(page) {
  await page.getByRole("button", { name: "Stop", exact: true }).waitFor({ state: "detached" });
  await page.waitForFunction(() => !document.querySelector("[aria-busy=true]"));
}

/** Keeps the model from ending its answers: the demo model's stories are over before anybody could stop them. */
export const endless = (page) =>
  page.route(/\/(v1\/chat\/completions|solve\/\w+)$/, (route) => {
    const body = { ...route.request().postDataJSON(), ignore_eos: true };
    return route.continue({ postData: JSON.stringify(body) });
  });

export const answers = (page) => page.getByRole("article", { name: "Answer" });

/** Opens the settings of answers, and sets some by their labels. */
export async function set(page, values) {
  const toggle = page.getByRole("button", { name: "Settings of answers" });
  const isOpen = (await toggle.getAttribute("aria-pressed")) === "true";
  if (!isOpen) await toggle.click();
  const panel = page.getByRole("complementary", { name: "Settings of answers" });
  for (const [label, value] of Object.entries(values)) {
    const field = panel.getByRole("spinbutton", { name: label });
    await field.fill(String(value));
    await field.blur();
  }
  return panel;
}

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Fails if axe finds something serious. */
export async function accessible(page, name) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  const found = serious.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.slice(0, 3).map(({ html }) => html).join("; ")}`);
  assert.deepEqual(found, [], name);
}
