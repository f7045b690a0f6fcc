// The other views with the demo model, how the page looks, and whom it can be used by.

import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { DESK, PHONE, accessible, answered, answers, ask, endless, open, serve, set, start } from "./support.mjs";

const server = await serve("-m", "demo", "-m", "demo-draft=small");

/** Where screenshots go, if they are wanted: the ones in docs/ are made so. */
const SHOTS = process.env.SM_UI_SHOTS;

async function shoot(page, name) {
  if (!SHOTS) return;
  await mkdir(SHOTS, { recursive: true });
  await page.screenshot({ path: join(SHOTS, `${name}.png`) });
}

test("a problem in mathematics has steps, and its answer apart", async () => {
  const { page, faults } = await open(`${server.url}/#/math`);
  const sent = [];
  page.on("request", (request) => request.method() === "POST" && sent.push([new URL(request.url()).pathname, request.postDataJSON()]));
  const examples = page.getByRole("list", { name: "Examples" }).getByRole("button");
  assert((await examples.count()) >= 3);
  const panel = await set(page, {});
  assert.equal(await panel.getByRole("slider", { name: "Temperature" }).inputValue(), "0.7");
  assert.equal(await panel.getByRole("slider", { name: "Tokens at most" }).inputValue(), "512");
  await set(page, { Temperature: 0 });
  await panel.getByRole("combobox", { name: "Thinking" }).selectOption("Off");
  await examples.first().click();
  assert.equal(await page.getByRole("textbox", { name: "Problem" }).inputValue(), "Solve for x: 2x + 3 = 9");
  await page.getByRole("button", { name: "Solve", exact: true }).click();
  await page.getByRole("region", { name: "Answer" }).waitFor();
  assert.match(await page.getByRole("region", { name: "Answer" }).innerText(), /3/);
  const steps = page.getByRole("region", { name: "Steps" }).getByRole("listitem");
  assert((await steps.count()) >= 2);
  assert.match(await page.locator(".stats").innerText(), /First token.*Speed.*Tokens.*Server/s);
  const [path, body] = sent[0];
  assert.equal(path, "/solve/math");
  assert.deepEqual([body.problem, body.temperature, body.max_tokens], ["Solve for x: 2x + 3 = 9", 0, 512]);
  assert.deepEqual(body.chat_template_kwargs, { enable_thinking: false });
  assert.deepEqual(faults, []);
});

test("a coding problem has its program apart, with colours and a button that copies it", async () => {
  const { page, faults } = await open(`${server.url}/#/coding`);
  await set(page, { Temperature: 0 });
  await page.getByRole("list", { name: "Examples" }).getByRole("button").first().click();
  await page.getByRole("button", { name: "Solve", exact: true }).click();
  const code = page.getByRole("region", { name: "Code" });
  await code.locator("pre").waitFor();
  assert((await code.locator(".hljs-keyword").count()) > 0);
  await code.getByRole("button", { name: "Copy" }).click();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  assert.match(copied, /^def /);
  assert.equal(copied.trim(), (await code.locator("pre").innerText()).trim());
  await accessible(page, "coding");
  assert.deepEqual(faults, []);
});

test("a solution can be stopped", async () => {
  const { page } = await open(`${server.url}/#/math`);
  await endless(page);
  await set(page, { Temperature: 1, "Tokens at most": 1000 });
  await page.getByRole("textbox", { name: "Problem" }).fill("Tell me a long story about numbers.");
  await page.getByRole("button", { name: "Solve", exact: true }).click();
  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByRole("button", { name: "Solve", exact: true }).waitFor();
});

test("two settings are compared with the same seed", async () => {
  const { page, faults } = await open(`${server.url}/#/compare`);
  const sent = [];
  page.on("request", (request) => request.method() === "POST" && sent.push(request.postDataJSON()));
  const side = (name) => page.getByRole("region", { name: `Side ${name}` });
  await side("B").getByText("Settings").click();
  await side("B").getByRole("combobox", { name: "Model" }).selectOption("small");
  await page.getByRole("textbox", { name: "Prompt" }).fill("Tell me a story about a cat.");
  await page.getByRole("button", { name: "Compare" }).click();
  await page.getByText("The answers differ.").waitFor();
  assert.equal(sent.length, 2);
  assert.equal(sent[0].seed, sent[1].seed);
  assert.deepEqual([sent[0].model, sent[1].model], [undefined, "small"]);
  assert.deepEqual([sent[0].temperature, sent[1].temperature], [0.7, 0]);
  for (const name of ["A", "B"]) assert.match(await side(name).locator(".stats").innerText(), /Speed/);
  await accessible(page, "compare");
  await shoot(page, "page-compare");
  assert.deepEqual(faults, []);
});

test("the engine is shown while it works", async () => {
  const { page, faults } = await open(`${server.url}/#/engine`);
  await page.getByRole("img", { name: /KV pages in use: now/ }).waitFor();
  const body = { messages: [{ role: "user", content: "Tell me a story." }], max_tokens: 900, ignore_eos: true, temperature: 1 };
  const load = Promise.all(
    Array.from({ length: SHOTS ? 80 : 12 }, () =>
      fetch(`${server.url}/v1/chat/completions`, { method: "POST", body: JSON.stringify(body) }).then((answer) => answer.json()),
    ),
  );
  await page.getByRole("img", { name: /Running requests: now [1-8],/ }).waitFor();
  await page.getByRole("img", { name: /Waiting requests: now [1-9],/ }).waitFor();
  await page.getByRole("img", { name: /KV pages in use: now [1-9]/ }).waitFor();
  await page.getByRole("img", { name: /Generated tokens per second: now [1-9]/ }).waitFor();
  await accessible(page, "engine");
  await page.waitForTimeout(SHOTS ? 10_000 : 0);
  await shoot(page, "page-engine");
  await load;
  assert.deepEqual(faults, []);
});

test("tabs and examples come from one file", async () => {
  const file = join(tmpdir(), `sm-tabs-${process.pid}.json`);
  const tabs = [
    { id: "talk", title: "Talk", kind: "chat", about: "Just talk.", examples: ["Hello"] },
    { id: "haiku", title: "Haiku", kind: "prompt", system: "Answer with a haiku.", examples: ["Rain"], max_tokens: 64 },
  ];
  await writeFile(file, JSON.stringify({ tabs }));
  const other = await serve("--ui-tabs", file);
  const { page } = await open(other.url);
  const sent = [];
  page.on("request", (request) => request.method() === "POST" && sent.push(request.postDataJSON()));
  await page.getByText("Just talk.").waitFor();
  await page.getByRole("link", { name: "Haiku" }).click();
  await page.getByRole("button", { name: "Rain" }).click();
  await page.getByRole("button", { name: "Solve", exact: true }).click();
  await page.getByRole("article", { name: "Solution" }).locator(".stats").waitFor();
  assert.deepEqual(sent[0].messages, [{ role: "system", content: "Answer with a haiku." }, { role: "user", content: "Rain" }]);
  assert.equal(sent[0].max_tokens, 64);
});

test("it is light or dark as the system or its user wants", async () => {
  const ground = (page) => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const { page } = await open(server.url, { colorScheme: "dark" });
  const dark = await ground(page);
  await page.getByRole("button", { name: "Preferences" }).click();
  await page.getByLabel("Appearance").selectOption("light");
  const light = await ground(page);
  assert.notEqual(dark, light);
  await page.reload();
  assert.equal(await ground(page), light);
});

for (const colorScheme of ["light", "dark"]) {
  for (const [name, viewport] of Object.entries({ desk: DESK, phone: PHONE })) {
    test(`everybody can use it: ${colorScheme}, ${name}`, async () => {
      const { page, faults } = await open(server.url, { viewport, colorScheme });
      await page.getByText("Ready").waitFor({ state: "attached" });
      await accessible(page, "empty");
      await shoot(page, `empty-${name}-${colorScheme}`);
      const panel = await set(page, { Temperature: 1, "Tokens at most": 90, Seed: 5 });
      await panel.getByRole("checkbox", { name: "Record token probabilities" }).check();
      await panel.getByRole("checkbox", { name: "Let the model call tools" }).check();
      await accessible(page, "settings");
      await shoot(page, `settings-${name}-${colorScheme}`);
      await panel.getByRole("checkbox", { name: "Let the model call tools" }).uncheck();
      if (name === "phone") await panel.getByRole("button", { name: "Close settings" }).click();
      await ask(page, "Tell me a story about a cat.");
      await ask(page, "Write a Python function that returns the sum of a list.");
      await accessible(page, "conversation");
      await shoot(page, `chat-${name}-${colorScheme}`);
      await page.getByRole("button", { name: "Token probabilities" }).first().click();
      await page.getByRole("group", { name: "Tokens of the answer" }).getByRole("button").nth(4).click();
      await accessible(page, "tokens");
      await shoot(page, `tokens-${name}-${colorScheme}`);
      // Nothing is wider than the screen.
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert(overflow <= 0, `${overflow} pixels too wide`);
      if (name === "phone") {
        await page.getByRole("button", { name: "Conversations" }).click();
        await accessible(page, "conversations");
        await shoot(page, `conversations-${name}-${colorScheme}`);
        await page.getByRole("complementary", { name: "Conversations" }).getByRole("link").first().click();
      }
      await page.getByRole("link", { name: "Math", exact: true }).click();
      if (await page.getByRole("button", { name: "Close settings" }).isVisible() && name === "phone") {
        await page.getByRole("button", { name: "Close settings" }).click();
      }
      await page.getByRole("list", { name: "Examples" }).getByRole("button").first().click();
      await page.getByRole("button", { name: "Solve", exact: true }).click();
      await page.getByRole("region", { name: "Answer" }).waitFor();
      await accessible(page, "math");
      await shoot(page, `math-${name}-${colorScheme}`);
      await page.getByRole("button", { name: "Preferences" }).click();
      await accessible(page, "preferences");
      await shoot(page, `preferences-${name}-${colorScheme}`);
      assert.deepEqual(faults, []);
    });
  }
}

test("it works without a network once it is there", async () => {
  const { page, context } = await open(server.url);
  await set(page, { Temperature: 0 });
  await ask(page, "What is 1 + 1?");
  await context.setOffline(true);
  await page.getByRole("button", { name: "New conversation" }).click();
  await page.getByRole("complementary", { name: "Conversations" }).getByRole("link").first().click();
  assert.match(await answers(page).innerText(), /2/);
  await page.getByRole("alert").getByText("The server cannot be reached").waitFor();
  await context.setOffline(false);
  await page.getByText("Ready").waitFor();
  await ask(page, "What is 2 + 2?");
  await answered(page);
  assert.match(await answers(page).last().innerText(), /4/);
});

test("the policy allows nothing inline", async () => {
  for (const url of [server.url, (await start("ui", "--port", "0", "-q")).url]) {
    const policy = (await fetch(url)).headers.get("content-security-policy");
    assert(policy.includes("script-src 'self';") && policy.includes("style-src 'self';") && !policy.includes("unsafe"), policy);
  }
});
