// Vercel's AI SDK over @ai-sdk/openai-compatible: texts, streams, a loop with a tool, objects, embeddings, errors.

import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, Output, embedMany, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const provider = (url) => createOpenAICompatible({ name: "sm", baseURL: `${url}/v1`, apiKey: "none", includeUsage: true, supportsStructuredOutputs: true });
const demo = provider(process.env.SM_URL);
const scripted = provider(process.env.SM_SCRIPTED_URL)("scripted");
const question = { model: demo("demo"), prompt: "Solve for x: 2x + 3 = 9", temperature: 0, maxOutputTokens: 200, maxRetries: 0 };
const seen = [];
const weather = tool({
  description: "A forecast.",
  inputSchema: z.object({ city: z.string(), days: z.number().int() }),
  execute: async (input) => (seen.push(input), "7 degrees"),
});
const loop = { model: scripted, prompt: "What is the weather in Graz?", tools: { weather }, stopWhen: stepCountIs(3), maxRetries: 0 };

async function texts() {
  const answer = await generateText(question);
  assert.match(answer.text, /Answer: 3/);
  assert.ok(answer.usage.outputTokens > 5);
  const stream = streamText(question);
  let streamed = "";
  for await (const part of stream.textStream) streamed += part;
  assert.equal(streamed, answer.text);
  assert.equal((await stream.usage).outputTokens, answer.usage.outputTokens);
}

async function tools() {
  const answer = await generateText(loop);
  assert.equal(answer.text, "It will be 7 degrees in Graz.");
  assert.deepEqual(seen, [{ city: "Graz", days: 2 }]);
  assert.equal(answer.steps[0].reasoningText, "The user wants a forecast.");
  const stream = streamText(loop);
  await stream.consumeStream();
  assert.equal((await stream.text).endsWith("It will be 7 degrees in Graz."), true);
  assert.equal(seen.length, 2);
}

async function objects() {
  const person = z.object({ name: z.string(), age: z.number().int() });
  const asked = { model: scripted, prompt: "Jane is 30", output: Output.object({ schema: person }), maxRetries: 0 };
  assert.deepEqual((await generateText(asked)).output, { name: "Jane", age: 30 });
  const stream = streamText(asked);
  const parts = [];
  for await (const part of stream.partialOutputStream) parts.push(part);
  assert.deepEqual(parts.at(-1), { name: "Jane", age: 30 });
}

async function embeddings() {
  const { embeddings } = await embedMany({ model: demo.embeddingModel("demo"), values: ["One", "Two"], maxRetries: 0 });
  assert.equal(embeddings.length, 2);
  assert.ok(Math.abs(embeddings[0].reduce((sum, value) => sum + value * value, 0) - 1) < 1e-3);
}

async function errors() {
  const wrong = (fields) => generateText({ ...question, ...fields });
  await assert.rejects(wrong({ temperature: -1 }), (error) => APICallError.isInstance(error) && error.statusCode === 400);
  await assert.rejects(wrong({ model: demo("gpt-9") }), (error) => error.statusCode === 404);
}

for (const test of [texts, tools, objects, embeddings, errors]) {
  await test();
  console.log("ok", test.name);
}
