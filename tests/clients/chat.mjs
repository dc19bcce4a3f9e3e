// Asks a gateway through the official `openai` package and prints what came.
//
//     node chat.mjs BASE_URL CASES
//
// CASES is a JSON array of {"route", "stream"}. On standard output: one JSON
// object with what the package saw, as `chat.py` prints it, too. The package
// is the one that is installed in the working folder.

import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(join(process.cwd(), "chat.cjs"));
const OpenAI = require("openai");

const messages = [{ role: "user", content: "a question?" }];

function ours(headers) {
  return Object.fromEntries([...headers].filter(([name]) => name.startsWith("x-backstop-")));
}

async function ask(client, { route, stream }) {
  const seen = { text: "", finish: null, headers: {}, error: null };
  try {
    const request = client.chat.completions.create({ model: route, messages, stream });
    const { data, response } = await request.withResponse();
    seen.headers = ours(response.headers);
    if (stream) {
      for await (const chunk of data) {
        for (const choice of chunk.choices) {
          seen.text += choice.delta.content ?? "";
          seen.finish = choice.finish_reason ?? seen.finish;
        }
      }
    } else {
      seen.text = data.choices[0].message.content;
      seen.finish = data.choices[0].finish_reason;
    }
  } catch (error) {
    if (!(error instanceof OpenAI.APIError)) throw error;
    if (error.status !== undefined) seen.headers = ours(error.headers);
    seen.error = {
      class: error.constructor.name,
      status: error.status ?? null,
      message: error.message,
      type: error.type,
      param: error.param,
      code: error.code,
    };
  }
  return seen;
}

const [baseURL, cases] = process.argv.slice(2);
// No retries of its own: every attempt is to be the gateway's.
const client = new OpenAI({ baseURL, apiKey: "of-the-caller", maxRetries: 0, timeout: 30_000 });
const models = [];
for await (const model of client.models.list()) models.push(model.id);
const answers = [];
for (const item of JSON.parse(cases)) answers.push(await ask(client, item));
const { VERSION } = require("openai/version");
console.log(JSON.stringify({ package: VERSION, models, answers }));
