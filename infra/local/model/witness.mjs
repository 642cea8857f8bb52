// What stands before the offline model: a witness of every call, and faults on purpose, by rules with a seed.
//
//     GET    /reprise/calls?since=<seq>   {"next", "dropped", "in_flight", "calls": [{"seq", "at", "ended_at", "key", "fault",
//                                         "status", "delivered", "messages"}]}
//     PUT    /reprise/faults              {"seed": 7, "latency_ms": 300, "rules": [{"kind": "hang", "rate": 0.1, "budget": 5}]}
//     GET    /reprise/faults              the rules with what each has seen and done, and the sums by kind
//     DELETE /reprise/faults              the same answer, then no rule any more
//
// aimock's own journal has only calls whose caller waited for the answer. Here each call is written down when it has ended,
// however it ended: `key` is its Idempotency-Key, `delivered` tells whether its answer was handed to the caller's connection
// `whole`, in `part` or not at all (`none`), `status` is that of the answer (0 if there was none).
//
// Faults hit only calls that carry an Idempotency-Key: those of runs. Kinds: `limited` (429), `error` (500), `hang` (no answer
// until the caller goes away), `garbage` (200 and half a JSON text), `cut` (the connection ends in the middle of the answer).
// `latency_ms` is no fault: every answer waits up to so long, so that there is a time to be killed in.
import { createServer, request as ask } from "node:http";

const KINDS = ["limited", "error", "hang", "garbage", "cut"];
const MOST_CALLS = 20_000;
const LONGEST_HANG_MS = 120_000;

/** A small generator with a seed (mulberry32): numbers from 0 to 1. */
function dice(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The rules of a request; throws an Error that names what is wrong. */
function readRules(raw) {
  const number = (value, where, least, most) => {
    if (typeof value !== "number" || !(value >= least && value <= most)) throw new Error(`${where} must be a number from ${least} to ${most}`);
    return value;
  };
  if (!Array.isArray(raw?.rules)) throw new Error('the body must be {"seed": number, "latency_ms": number, "rules": [...]}');
  const seed = number(raw.seed ?? 0, "seed", 0, 2 ** 32);
  const latency = number(raw.latency_ms ?? 0, "latency_ms", 0, 60_000);
  const rules = raw.rules.map((rule, place) => {
    if (!KINDS.includes(rule.kind)) throw new Error(`rules[${place}].kind must be one of ${KINDS.join(", ")}`);
    const rate = number(rule.rate, `rules[${place}].rate`, 0, 1);
    const budget = number(rule.budget, `rules[${place}].budget`, 0, 1_000_000);
    return { kind: rule.kind, rate, budget, seen: 0, injected: 0, draw: dice(seed + 7919 * (place + 1)) };
  });
  return { rules, latency, draw: dice(seed) };
}

/** Serves on `port` and passes everything on to `upstream`, a URL; resolves with the server when it listens. */
export function startWitness(port, upstream) {
  const { hostname, port: upstreamPort } = new URL(upstream);
  const none = { rules: [], latency: 0, draw: dice(0) };
  let faults = none;
  let inFlight = 0;
  let last = 0;
  const calls = [];

  function strike() {
    return faults.rules.find((rule) => {
      rule.seen += 1;
      const hits = rule.draw() < rule.rate && rule.injected < rule.budget;
      if (hits) rule.injected += 1;
      return hits;
    })?.kind;
  }

  function report() {
    const sums = Object.fromEntries(KINDS.map((kind) => [kind, 0]));
    for (const rule of faults.rules) sums[rule.kind] += rule.injected;
    return { rules: faults.rules.map(({ draw, ...shown }) => shown), injected: sums };
  }

  function note(call) {
    calls.push({ seq: (last += 1), ...call, ended_at: Date.now() });
    if (calls.length > MOST_CALLS) calls.shift();
  }

  async function control(request, response, url) {
    const answer = (status, body) => response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    if (url.pathname === "/reprise/calls" && request.method === "GET") {
      const since = Number(url.searchParams.get("since") ?? 0);
      const dropped = Math.max(0, (calls[0]?.seq ?? last + 1) - 1 - since);
      return answer(200, { next: last, dropped, in_flight: inFlight, calls: calls.filter((call) => call.seq > since) });
    }
    if (url.pathname !== "/reprise/faults") return false;
    if (request.method === "PUT") {
      try {
        faults = readRules(JSON.parse(await text(request)));
      } catch (error) {
        return answer(400, { error: error.message });
      }
    }
    const body = report();
    if (request.method === "DELETE") faults = none;
    return answer(200, body);
  }

  async function model(request, response) {
    const key = request.headers["idempotency-key"] ?? "";
    const call = { at: Date.now(), key, fault: "", status: 0, delivered: "none", messages: [] };
    inFlight += 1;
    let gone = () => {};
    const left = new Promise((resolve) => (gone = resolve));
    response.once("close", () => {
      if (response.writableFinished) call.delivered = "whole";
      else if (response.headersSent) call.delivered = "part";
      inFlight -= 1;
      note(call);
      gone();
    });
    const body = await text(request).catch(() => "");
    call.messages = messagesOf(body);
    const fault = key ? strike() : undefined;
    call.fault = fault ?? "";
    const wait = key ? faults.draw() * faults.latency : 0;
    await Promise.race([left, sleep(fault === "hang" ? LONGEST_HANG_MS : wait)]);
    if (response.destroyed) return;
    if (fault === "hang") response.destroy();
    else if (fault === "limited") refuse(response, call, 429, "rate_limit_exceeded", { "retry-after": "1" });
    else if (fault === "error") refuse(response, call, 500, "server_error");
    else pass(request, response, body, call, fault);
  }

  /** The model's own answer, or as much of it as the fault lets through. */
  function pass(request, response, body, call, fault) {
    const headers = { ...request.headers, host: `${hostname}:${upstreamPort}` };
    const onward = ask({ hostname, port: upstreamPort, method: request.method, path: request.url, headers }, async (answer) => {
      call.status = answer.statusCode;
      if (!fault) {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
        return;
      }
      const whole = Buffer.from(await text(answer));
      const half = whole.subarray(0, whole.length >> 1);
      if (fault === "garbage") {
        response.writeHead(200, { "content-type": "application/json", "content-length": half.length }).end(half);
      } else {
        response.writeHead(200, { "content-type": "application/json", "content-length": whole.length });
        response.write(half, () => response.destroy());
      }
    });
    onward.once("error", () => response.destroy());
    // aimock must hear that the caller has gone, as it would without us.
    response.once("close", () => onward.destroy());
    onward.end(body);
  }

  const server = createServer(async (request, response) => {
    const url = new URL(request.url, "http://localhost");
    try {
      if (url.pathname.startsWith("/reprise/") && (await control(request, response, url)) !== false) return;
      if (request.method === "POST" && url.pathname.startsWith("/v1")) await model(request, response);
      else pass(request, response, await text(request), {}, undefined);
    } catch (error) {
      console.error(`witness: ${error.message}`);
      response.destroy();
    }
  });
  return new Promise((resolve, reject) => server.once("error", reject).listen(port, "127.0.0.1", () => resolve(server)));
}

function refuse(response, call, status, code, headers = {}) {
  call.status = status;
  const body = JSON.stringify({ error: { message: `injected: ${code}`, type: code, code } });
  response.writeHead(status, { "content-type": "application/json", ...headers }).end(body);
}

/** Role and text of each message but the agent's own instructions. */
function messagesOf(body) {
  let messages;
  try {
    messages = JSON.parse(body).messages;
  } catch {
    return [];
  }
  const kept = Array.isArray(messages) ? messages.filter((message) => message.role !== "system") : [];
  return kept.map(({ role, content, tool_calls }) => {
    const told = typeof content === "string" ? content : (content ?? []).map((part) => part.text ?? "").join("");
    return { role, content: told, ...(tool_calls && { calls: tool_calls.length }) };
  });
}

async function text(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
