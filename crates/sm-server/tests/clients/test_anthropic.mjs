// Anthropic's SDK for TypeScript: messages, streams, tools, thoughts, structured output, counts, errors.

import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";

const client = (url) => new Anthropic({ baseURL: url, apiKey: "none", maxRetries: 0 });
const demo = client(process.env.SM_URL);
const scripted = client(process.env.SM_SCRIPTED_URL);
const question = [{ role: "user", content: "Solve for x: 2x + 3 = 9" }];
const weather = [{ role: "user", content: "What is the weather in Graz?" }];
const schema = {
  type: "object",
  properties: { city: { type: "string" }, days: { type: "integer" } },
  required: ["city", "days"],
};
const turn = { model: "scripted", max_tokens: 200, tools: [{ name: "weather", input_schema: schema }] };

async function messages() {
  const body = { model: "demo", max_tokens: 200, messages: question, temperature: 0 };
  const answer = await demo.messages.create(body);
  assert.match(answer.content[0].text, /Answer: 3/);
  const stream = demo.messages.stream(body);
  let streamed = "";
  stream.on("text", (text) => (streamed += text));
  const last = await stream.finalMessage();
  assert.equal(streamed, answer.content[0].text);
  assert.deepEqual(last.content[0].text, answer.content[0].text);
  assert.equal(last.usage.output_tokens, answer.usage.output_tokens);
  const counted = await demo.messages.countTokens({ model: "demo", messages: question });
  assert.equal(counted.input_tokens, answer.usage.input_tokens + answer.usage.cache_read_input_tokens);
}

async function tools() {
  const first = await scripted.messages.create({ ...turn, messages: weather, thinking: { type: "adaptive" } });
  assert.equal(first.stop_reason, "tool_use");
  const call = first.content.at(-1);
  assert.deepEqual([call.name, call.input], ["weather", { city: "Graz", days: 2 }]);
  const result = { type: "tool_result", tool_use_id: call.id, content: "7 degrees" };
  const both = [...weather, { role: "assistant", content: first.content }, { role: "user", content: [result] }];
  const last = await scripted.messages.create({ ...turn, messages: both });
  assert.equal(last.content.at(-1).text, "It will be 7 degrees in Graz.");
  const streamed = await scripted.messages.stream({ ...turn, messages: weather }).finalMessage();
  assert.deepEqual(streamed.content.at(-1).input, { city: "Graz", days: 2 });
}

async function runner() {
  const seen = [];
  const runner = scripted.beta.messages.toolRunner({
    model: "scripted",
    max_tokens: 200,
    messages: weather,
    tools: [
      {
        type: "custom",
        name: "weather",
        description: "A forecast.",
        input_schema: schema,
        run: (input) => (seen.push(input), "7 degrees"),
        parse: (input) => input,
      },
    ],
  });
  const last = await runner.runUntilDone();
  assert.equal(last.content.at(-1).text, "It will be 7 degrees in Graz.");
  assert.deepEqual(seen, [{ city: "Graz", days: 2 }]);
}

async function structured() {
  const person = {
    type: "object",
    properties: { name: { type: "string" }, age: { type: "integer" } },
    required: ["name", "age"],
    additionalProperties: false,
  };
  const answer = await scripted.messages.create({
    model: "scripted",
    max_tokens: 200,
    messages: [{ role: "user", content: "Jane is 30" }],
    output_config: { format: { type: "json_schema", schema: person } },
  });
  assert.deepEqual(JSON.parse(answer.content.at(-1).text), { name: "Jane", age: 30 });
}

async function cut() {
  // A forced call that the limit cuts is there nonetheless, with the arguments that are whole.
  const tools = [{ name: "weather", input_schema: { ...schema, additionalProperties: false } }];
  const forced = { model: "demo", messages: weather, tools, tool_choice: { type: "tool", name: "weather" } };
  const answer = await demo.messages.create({ ...forced, max_tokens: 40 });
  assert.equal(answer.stop_reason, "max_tokens");
  assert.equal(answer.content.at(-1).type, "tool_use", JSON.stringify(answer));
}

async function errors() {
  const create = (fields) => demo.messages.create({ model: "demo", max_tokens: 5, messages: question, ...fields });
  await assert.rejects(create({ model: "gpt-9" }), (error) => error instanceof Anthropic.NotFoundError);
  await assert.rejects(
    create({ temperature: -1 }),
    (error) => error instanceof Anthropic.BadRequestError && error.error.error.type === "invalid_request_error",
  );
}

for (const test of [messages, tools, runner, structured, cut, errors]) {
  await test();
  console.log("ok", test.name);
}
