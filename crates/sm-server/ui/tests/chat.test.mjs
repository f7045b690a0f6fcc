// Conversations with the demo model: streaming, stopping, versions, storage, settings.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { answered, answers, ask, endless, open, serve, set } from "./support.mjs";

const server = await serve("-m", "demo", "-m", "demo-draft=small");

test("an answer streams in, with its measurements", async () => {
  const { page, faults } = await open(server.url);
  await page.getByText("Ready").waitFor();
  await set(page, { Temperature: 0 });
  await ask(page, "What is 17 + 25?");
  const answer = answers(page).last();
  assert.match(await answer.innerText(), /42/);
  const stats = await answer.locator(".stats").innerText();
  for (const part of [/First token\s+[\d.]+ m?s/, /Speed\s+[\d.]+ tok\/s/, /Tokens\s+\d+/, /Prompt\s+\d+/, /Server\s+[\d.]+ m?s/, /Seed\s+\d+/]) {
    assert.match(stats, part);
  }
  // The second turn finds the first one in the cache.
  await ask(page, "What is 3 + 4?");
  assert.match(await answers(page).last().locator(".stats").innerText(), /Prompt\s+\d+, \d+ cached/);
  assert.deepEqual(faults, []);
});

test("an answer can be stopped, continued and made again, and every version stays", async () => {
  const { page, faults } = await open(server.url);
  await endless(page);
  await set(page, { Temperature: 1, "Tokens at most": 900 });
  await page.getByRole("textbox", { name: "Message" }).fill("Tell me a long story.");
  await page.getByRole("button", { name: "Send", exact: true }).click();
  await page.waitForFunction(() => document.querySelector(".message.assistant .markdown")?.textContent.length > 20);
  await page.getByRole("button", { name: "Stop", exact: true }).click();
  await answered(page);
  const stopped = await answers(page).last().locator(".markdown").innerText();
  assert.match(await answers(page).last().innerText(), /Stopped/);
  await set(page, { "Tokens at most": 20 });
  await page.getByRole("button", { name: "Continue" }).click();
  await answered(page);
  const continued = await answers(page).last().locator(".markdown").innerText();
  const squeezed = (text) => text.replace(/\s+/g, " ").trim();
  assert(squeezed(continued).startsWith(squeezed(stopped)) && continued.length > stopped.length, `${stopped} | ${continued}`);
  await page.getByRole("button", { name: "Regenerate" }).last().click();
  await answered(page);
  await page.getByRole("img", { name: "Version 3 of 3" }).waitFor();
  const again = await answers(page).last().locator(".markdown").innerText();
  assert.notEqual(again, continued);
  await page.getByRole("button", { name: "Previous version" }).click();
  assert.equal(await answers(page).last().locator(".markdown").innerText(), continued);
  assert.deepEqual(faults, []);
});

test("a question can be edited, which begins a branch", async () => {
  const { page } = await open(server.url);
  await set(page, { Temperature: 0 });
  await ask(page, "What is 1 + 1?");
  await ask(page, "What is 5 + 5?");
  await page.getByRole("button", { name: "Edit", exact: true }).first().click();
  await page.getByRole("article", { name: "You" }).first().getByRole("textbox").fill("What is 2 + 2?");
  await page.getByRole("button", { name: "Save and send" }).click();
  await answered(page);
  assert.equal(await answers(page).count(), 1);
  assert.match(await answers(page).innerText(), /4/);
  await page.getByRole("button", { name: "Previous version" }).click();
  assert.equal(await answers(page).count(), 2);
  assert.match(await page.getByRole("article", { name: "You" }).first().innerText(), /1 \+ 1/);
});

test("conversations are kept, renamed, deleted, exported and imported", async () => {
  const { page } = await open(server.url);
  await set(page, { Temperature: 0, "Tokens at most": 30 });
  await ask(page, "What is 1 + 2?");
  await page.getByRole("button", { name: "New conversation" }).click();
  await ask(page, "What is the capital of France?");
  const list = page.getByRole("complementary", { name: "Conversations" }).getByRole("link");
  assert.deepEqual(await list.allInnerTexts(), ["What is the capital of France?", "What is 1 + 2?"]);
  page.once("dialog", (dialog) => dialog.accept("Paris"));
  await page.getByRole("group", { name: "Actions for What is the capital of France?" }).getByRole("button", { name: "Rename" }).click();
  await page.reload();
  await page.getByRole("link", { name: "Paris" }).waitFor();
  await list.filter({ hasText: "1 + 2" }).click();
  assert.match(await answers(page).innerText(), /3/);

  await page.getByRole("button", { name: "Preferences" }).click();
  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: "Export all" }).click();
  const file = await (await download).path();
  const exported = JSON.parse(await readFile(file, "utf8"));
  assert.equal(exported.conversations.length, 2);
  await page.getByRole("button", { name: "Close", exact: true }).click();
  for (const name of ["Paris", "What is 1 + 2?"]) {
    page.once("dialog", (dialog) => dialog.accept());
    await page.getByRole("group", { name: `Actions for ${name}` }).getByRole("button", { name: "Delete" }).click();
  }
  await page.getByText("Conversations are kept in this browser").waitFor();
  await page.reload();
  assert.equal(await list.count(), 0);

  await page.getByRole("button", { name: "Preferences" }).click();
  const give = async (buffer) => {
    const payload = { name: "x.json", mimeType: "application/json", buffer };
    await page.locator("input[type=file]").setInputFiles(payload);
  };
  await give(Buffer.from('{"format": "other"}'));
  await page.getByText("The file cannot be imported").waitFor();
  const looped = structuredClone(exported);
  looped.conversations[0].messages[0].parent = looped.conversations[0].messages[1].id;
  await give(Buffer.from(JSON.stringify(looped)));
  await page.getByText("are no tree").waitFor();
  await give(await readFile(file));
  await page.getByText("2 conversations imported.").waitFor();
  await page.getByRole("button", { name: "Close", exact: true }).click();
  assert.deepEqual((await list.allInnerTexts()).toSorted(), ["Paris", "What is 1 + 2?"]);
});

test("requests say what the settings say", async () => {
  const { page } = await open(server.url);
  const sent = [];
  page.on("request", (request) => request.method() === "POST" && sent.push(request.postDataJSON()));
  await page.getByText("System prompt").click();
  await page.getByRole("textbox", { name: "What the model is told before the conversation" }).fill("Answer briefly.");
  const panel = await set(page, { Temperature: 0.25, "Top-p": 0.5, "Top-k": 7, "Tokens at most": 64, Seed: 11 });
  assert.deepEqual(await panel.getByRole("combobox", { name: "Model" }).locator("option").allInnerTexts(), ["The server's default", "demo", "small"]);
  await panel.getByRole("combobox", { name: "Model" }).selectOption("small");
  await panel.getByRole("combobox", { name: "Thinking" }).selectOption("off");
  await ask(page, "What is 1 + 1?");
  const [body] = sent;
  assert.deepEqual(body.messages, [{ role: "system", content: "Answer briefly." }, { role: "user", content: "What is 1 + 1?" }]);
  const { model, temperature, top_p, top_k, max_tokens, seed, chat_template_kwargs, tools } = body;
  assert.deepEqual(
    { model, temperature, top_p, top_k, max_tokens, seed, chat_template_kwargs, tools },
    { model: "small", temperature: 0.25, top_p: 0.5, top_k: 7, max_tokens: 64, seed: 11, chat_template_kwargs: { enable_thinking: false }, tools: undefined },
  );
  // The same seed and settings give the same answer.
  const first = await answers(page).last().locator(".markdown").innerText();
  await page.getByRole("button", { name: "Regenerate" }).click();
  await answered(page);
  assert.equal(await answers(page).last().locator(".markdown").innerText(), first);
  // Sliders set the same figures.
  await panel.getByRole("slider", { name: "Temperature" }).fill("0.7");
  assert.equal(await panel.getByRole("spinbutton", { name: "Temperature" }).inputValue(), "0.7");
  await panel.getByRole("button", { name: "Reset" }).click();
  assert.equal(await panel.getByRole("slider", { name: "Tokens at most" }).inputValue(), "512");
});

test("tokens show their probabilities, and an alternative is continued from", async () => {
  const { page, faults } = await open(server.url);
  const sent = [];
  page.on("request", (request) => request.method() === "POST" && sent.push(request.postDataJSON()));
  const panel = await set(page, { Temperature: 0, "Tokens at most": 64 });
  await panel.getByRole("checkbox", { name: "Record token probabilities" }).check();
  await ask(page, "What is the capital of France?");
  const text = await answers(page).last().locator(".markdown").innerText();
  await page.getByRole("button", { name: "Token probabilities" }).click();
  const tokens = page.getByRole("group", { name: "Tokens of the answer" }).getByRole("button");
  const n = await tokens.count();
  assert(n > 3 && n <= 64, `${n}`);
  const joined = (await tokens.allInnerTexts()).join("").replaceAll("⏎", "");
  assert.equal(joined.replace(/\s/g, ""), text.replace(/\s/g, ""));
  await tokens.nth(0).focus();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowRight");
  const options = page.getByRole("group", { name: /^Alternatives to/ }).getByRole("button");
  assert.equal(await options.count(), 5);
  assert.match(await options.first().innerText(), /[\d.]+ %/);
  const other = options.filter({ hasNotText: "chosen" }).first();
  await other.click();
  await answered(page);
  await page.getByRole("img", { name: "Version 2 of 2" }).waitFor();
  const { messages, continue_final_message } = sent.at(-1);
  assert.equal(continue_final_message, true);
  const begun = messages.at(-1);
  assert.equal(begun.role, "assistant");
  const after = await answers(page).last().locator(".markdown").innerText();
  assert(after.replace(/\s/g, "").startsWith(begun.content.replace(/\s/g, "")), `${begun.content} | ${after}`);
  assert.notEqual(after, text);
  assert.deepEqual(faults, []);
});

test("the keyboard is enough", async () => {
  const { page } = await open(server.url);
  await endless(page);
  await set(page, { Temperature: 1, "Tokens at most": 900 });
  await page.locator("main").focus();
  await page.keyboard.press("/");
  await page.keyboard.type("Tell me");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("a story.");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelector(".message.assistant .markdown")?.textContent.length > 5);
  await page.keyboard.press("Escape");
  await answered(page);
  assert.equal(await page.getByRole("article", { name: "You" }).innerText(), "Tell me\na story.");
  assert.match(await answers(page).innerText(), /Stopped/);
  await page.keyboard.press("Control+Shift+O");
  await page.getByText("Ask anything.").waitFor();
  await page.reload();
  await page.getByText("Ask anything.").waitFor();
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to content");
});
