// openai-node: chats, streams, tools, errors, and a client that goes away.

import assert from "node:assert/strict";
import OpenAI from "openai";

const client = (url) => new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
const demo = client(process.env.SM_URL);
const scripted = client(process.env.SM_SCRIPTED_URL);
const question = [{ role: "user", content: "Solve for x: 2x + 3 = 9" }];
const weather = [{ role: "user", content: "What is the weather in Graz?" }];
const parameters = {
  type: "object",
  properties: { city: { type: "string" }, days: { type: "integer" } },
  required: ["city", "days"],
};

async function chats() {
  const body = { model: "demo", messages: question, temperature: 0, max_tokens: 200 };
  const answer = await demo.chat.completions.create(body);
  const text = answer.choices[0].message.content;
  assert.match(text, /Answer: 3/);
  let streamed = "";
  for await (const chunk of await demo.chat.completions.create({ ...body, stream: true })) {
    streamed += chunk.choices[0].delta.content ?? "";
  }
  assert.equal(streamed, text);
}

async function tools() {
  const seen = [];
  const runner = scripted.chat.completions.runTools({
    model: "scripted",
    messages: weather,
    stream: true,
    tools: [
      {
        type: "function",
        function: {
          name: "weather",
          parameters,
          parse: JSON.parse,
          function: (given) => (seen.push(given), "7 degrees"),
        },
      },
    ],
  });
  assert.equal(await runner.finalContent(), "It will be 7 degrees in Graz.");
  assert.deepEqual(seen, [{ city: "Graz", days: 2 }]);
}

async function errors() {
  const wrong = demo.chat.completions.create({ model: "demo", messages: question, temperature: -1 });
  await assert.rejects(wrong, (error) => error.status === 400 && error.param === "temperature");
}

async function leaving() {
  const stream = await demo.completions.create({ model: "demo", prompt: "Once", max_tokens: 900, stream: true });
  for await (const _ of stream) break;
  stream.controller.abort();
  assert.equal((await demo.models.list()).data[0].id, "demo");
}

for (const test of [chats, tools, errors, leaving]) {
  await test();
  console.log("ok", test.name);
}
