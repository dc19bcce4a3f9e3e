// Asks routes of every kind through the official `openai` package.
//
//     node apis.mjs BASE_URL
//
// On standard output: one JSON object with what the package saw, as `apis.py`
// prints it, too. The package is the one that is installed in the working
// folder.

import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(join(process.cwd(), "apis.cjs"));
const OpenAI = require("openai");

const tool = { name: "weather", parameters: { type: "object", properties: {} } };
const image = "data:image/png;base64,aGk=";

async function chat(client) {
  const content = [
    { type: "text", text: "what is this?" },
    { type: "image_url", image_url: { url: image } },
  ];
  const answer = await client.chat.completions.create({
    model: "chat",
    messages: [{ role: "user", content }],
    tools: [{ type: "function", function: tool }],
  });
  const choice = answer.choices[0];
  return { finish: choice.finish_reason, tool: choice.message.tool_calls[0].function.name };
}

async function completions(client) {
  const wanted = { model: "completions", prompt: "a" };
  const whole = await client.completions.create(wanted);
  let streamed = "";
  for await (const chunk of await client.completions.create({ ...wanted, stream: true }))
    streamed += chunk.choices[0].text;
  return { text: whole.choices[0].text, streamed };
}

async function embeddings(client) {
  const answer = await client.embeddings.create({ model: "embeddings", input: ["a", "b"] });
  return { vectors: answer.data.map((item) => [...item.embedding]), model: answer.model };
}

async function responses(client) {
  const content = [
    { type: "input_text", text: "what is this?" },
    { type: "input_image", image_url: image, detail: "auto" },
  ];
  const wanted = {
    model: "responses",
    input: [{ role: "user", content }],
    tools: [{ type: "function", strict: false, ...tool }],
  };
  const whole = await client.responses.create(wanted);
  const events = [];
  let streamed = "";
  let status = null;
  for await (const event of await client.responses.create({ ...wanted, stream: true })) {
    events.push(event.type);
    if (event.type === "response.output_text.delta") streamed += event.delta;
    if (event.type === "response.completed") status = event.response.status;
  }
  const calls = whole.output.filter((item) => item.type === "function_call");
  return {
    text: whole.output_text,
    tool: calls.map((item) => item.name),
    events,
    streamed,
    status,
  };
}

async function broken(client) {
  const events = [];
  let code = null;
  const wanted = { model: "broken", input: "a", stream: true };
  for await (const event of await client.responses.create(wanted)) {
    events.push(event.type);
    if (event.type === "error") code = event.code;
  }
  return { events, code };
}

const [baseURL] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "of-the-caller", maxRetries: 0, timeout: 30_000 });
const seen = {};
for (const part of [chat, completions, embeddings, responses, broken])
  seen[part.name] = await part(client);
console.log(JSON.stringify(seen));
