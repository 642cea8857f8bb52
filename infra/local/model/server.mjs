// The offline model provider: aimock with our fixtures, and failures that heal, one prompt at a time.
//
//     node infra/local/model/server.mjs [--port 4010]      ready when GET /health answers 200
//
// What each prompt gets is in fixtures/ (the first match wins, files in order of their names; a fixture's userMessage is
// a part of the last user message). These prompts are answered here, because they need memory or their own text, and
// "empty answer" because a fixture file may not hold one:
//
//   "echo ..."                   the answer is "You said: echo ..."; "echo after 2 clocks ..." asks the tool `clock` twice first,
//                                "echo after asking ..." asks a person
//   "fails 3 times ..."          the first three calls with exactly this prompt get a 500, later ones an answer;
//                                "echo after 1 clock, then fails 3 times ..." the first three after the tools
//   "fails until healed ..."     each call gets a 500 until POST /reprise/heal with a body that is part of the prompt;
//                                "echo after 1 clock, then fails until healed ..." only the call after the tools
//
// So a test that puts something unique into its prompt can let a run die and retry it with success, beside other tests.
// aimock itself: GET /__aimock/journal lists the requests (filters: path, status, limit, offset), POST
// /__aimock/reset/journal empties that list, POST /__aimock/chaos {"dropRate":1} fails every call until DELETE
// /__aimock/chaos. Never POST /__aimock/reset: that drops the fixtures.
//
// Before aimock stands the witness (witness.mjs): GET /reprise/calls tells of every call, also of those whose caller went away,
// and PUT /reprise/faults makes calls of runs fail by rules with a seed.
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { startWitness } from "./witness.mjs";

const here = new URL(".", import.meta.url);
// The packages are in .local/node, not in a folder above this file, so the path has to be said.
const installed = createRequire(new URL("../../../.local/node/package.json", here));
const { loadConfig, startFromConfig } = installed("@copilotkit/aimock");

const { values } = parseArgs({ options: { port: { type: "string", default: "4010" } } });
const config = loadConfig(fileURLToPath(new URL("aimock.json", here)));
// aimock reads this path from the working directory; here it does not matter where one stands.
config.llm.fixtures = fileURLToPath(new URL("fixtures", here));

const ECHO = /^echo(?: after (?:(\d+) clocks?|(asking)))?\b/;
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
  const said = text.includes("then fails") ? echo(request) : {};
  if (said.toolCalls) return said;
  const left = failuresLeft.get(text) ?? Number(/fails (\d+) times/.exec(text)[1]);
  failuresLeft.set(text, Math.max(0, left - 1));
  if (left > 0) return failure;
  return said.content ? said : answer;
}

function failsUntilHealed(request) {
  if (!healed.some((part) => prompt(request).includes(part))) {
    const said = prompt(request).includes("then fails until healed") ? echo(request) : {};
    return said.toolCalls ? said : failure;
  }
  return ECHO.test(prompt(request)) ? echo(request) : answer;
}

/** Asks the clock as often as the prompt wants, or a person, then says the prompt. */
function echo(request) {
  const asked = prompt(request);
  const [, clocks, person] = ECHO.exec(asked);
  const wanted = person ? 1 : Number(clocks ?? 0);
  const turn = request.messages.slice(request.messages.findLastIndex((message) => message.role === "user"));
  const had = turn.filter((message) => message.role === "tool").length;
  const usage = { prompt_tokens: 20, completion_tokens: 12 };
  if (had >= wanted) return { content: `You said: ${asked}`, usage };
  const [name, args] = person ? ["ask_human", '{"question":"May I say it?"}'] : ["clock", '{"timezone":"UTC"}'];
  return { toolCalls: [{ id: `call_echo_${had + 1}`, name, arguments: args }], usage };
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

// Any free port: who asks the model asks the witness before it.
const { llmock, url } = await startFromConfig(config, { port: 0, host: "127.0.0.1" });
// The last one that is put in front comes first: an echo that fails until it is healed fails.
llmock.prependFixture({ match: { predicate: (request) => ECHO.test(prompt(request)) }, response: echo });
llmock.prependFixture({ match: { predicate: (request) => /fails \d+ times/.test(prompt(request)) }, response: failsSoManyTimes });
llmock.prependFixture({ match: { predicate: (request) => prompt(request).includes("fails until healed") }, response: failsUntilHealed });
const nothing = { content: "", usage: { prompt_tokens: 20, completion_tokens: 0 } };
llmock.prependFixture({ match: { userMessage: "empty answer" }, response: nothing });
// POST /search is Tavily's; /mcp is a server of tools by the Model Context Protocol, see aimock.json.
llmock.onSearch(/durable agents/i, [
  { title: "Reprise", url: "https://example.com/reprise", content: "Agents that survive crashes.", score: 0.98 },
]);
llmock.mount("/reprise", controls);
const witness = await startWitness(Number(values.port), url);
console.log(`offline model at http://127.0.0.1:${witness.address().port}`);

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, () => {
    witness.close();
    witness.closeAllConnections();
    llmock.stop().finally(() => process.exit(0));
  });
}
