// The offline model provider: aimock with our fixtures, and failures that heal, one prompt at a time.
//
//     node infra/local/model/server.mjs [--port 4010]      ready when GET /health answers 200
//
// What each prompt gets is in fixtures/ (the first match wins, files in order of their names; a fixture's userMessage is
// a part of the last user message). Two kinds of prompt are answered here because they need memory, and "empty answer"
// because a fixture file may not hold one:
//
//   "fails 3 times ..."          the first three calls with exactly this prompt get a 500, later ones an answer
//   "fails until healed ..."     each call gets a 500 until POST /reprise/heal with a body that is part of the prompt
//
// So a test that puts something unique into its prompt can let a run die and retry it with success, beside other tests.
// aimock itself: GET /__aimock/journal lists the requests (filters: path, status, limit, offset), POST
// /__aimock/reset/journal empties that list, POST /__aimock/chaos {"dropRate":1} fails every call until DELETE
// /__aimock/chaos. Never POST /__aimock/reset: that drops the fixtures.
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const here = new URL(".", import.meta.url);
// The packages are in .local/node, not in a folder above this file, so the path has to be said.
const installed = createRequire(new URL("../../../.local/node/package.json", here));
const { loadConfig, startFromConfig } = installed("@copilotkit/aimock");

const { values } = parseArgs({ options: { port: { type: "string", default: "4010" } } });
const config = loadConfig(fileURLToPath(new URL("aimock.json", here)));
// aimock reads this path from the working directory; here it does not matter where one stands.
config.llm.fixtures = fileURLToPath(new URL("fixtures", here));

const failuresLeft = new Map();
const healed = [];

const failure = { error: { message: "The offline demo model was asked to fail.", type: "server_error" }, status: 500 };
const answer = { content: "The provider is well again, and this is its answer.", usage: { prompt_tokens: 20, completion_tokens: 12 } };

/** The text of the last user message, which is what fixtures match on as well. */
function prompt(request) {
  const content = request.messages.findLast((message) => message.role === "user")?.content ?? "";
  return typeof content === "string" ? content : content.map((part) => part.text ?? "").join("");
}

function failsSoManyTimes(request) {
  const text = prompt(request);
  const left = failuresLeft.get(text) ?? Number(/fails (\d+) times/.exec(text)[1]);
  failuresLeft.set(text, Math.max(0, left - 1));
  return left > 0 ? failure : answer;
}

function failsUntilHealed(request) {
  return healed.some((part) => prompt(request).includes(part)) ? answer : failure;
}

/** POST /reprise/heal: every prompt that contains the body is answered from now on. */
const controls = {
  async handleRequest(request, response, path) {
    if (request.method !== "POST" || path !== "/heal") return false;
    const chunks = await request.toArray();
    const part = Buffer.concat(chunks).toString().trim();
    if (part) healed.push(part);
    response.writeHead(part ? 200 : 400, { "content-type": "application/json" }).end(JSON.stringify({ healed: part }));
    return true;
  },
};

const { llmock, url } = await startFromConfig(config, { port: Number(values.port), host: "127.0.0.1" });
llmock.prependFixture({ match: { predicate: (request) => /fails \d+ times/.test(prompt(request)) }, response: failsSoManyTimes });
llmock.prependFixture({ match: { predicate: (request) => prompt(request).includes("fails until healed") }, response: failsUntilHealed });
const nothing = { content: "", usage: { prompt_tokens: 20, completion_tokens: 0 } };
llmock.prependFixture({ match: { userMessage: "empty answer" }, response: nothing });
llmock.mount("/reprise", controls);
console.log(`offline model at ${url}`);

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, () => llmock.stop().finally(() => process.exit(0)));
}
