// What the Node.js scripts share; the same as shared.py, with which it has to agree.
//
// OPENAI_PACKAGE names another installed version of the SDK. Words after the script's name run only these checks.

const { randomBytes } = require("node:crypto");
const { deepStrictEqual } = require("node:assert");

const BASE_URL = process.env.OPENAI_BASE_URL;
const KEY = process.env.OPENAI_API_KEY;
const OTHER_KEY = process.env.OTHER_API_KEY ?? "";
const OVER = process.env.OVER ?? "fake";
const MODEL = { demo: "demo", real: "smollm2-135m-instruct" }[OVER] ?? "gpt-5-mini";
const OPENAI = process.env.OPENAI_PACKAGE ?? "openai";
// Longer than anything here takes, in milliseconds.
const SOON = 20_000;

// Compares what JSON would show of both.
function equal(got, expected, what = "") {
  const plain = (value) => (value === undefined ? undefined : JSON.parse(JSON.stringify(value)));
  try {
    deepStrictEqual(plain(got), plain(expected));
  } catch {
    throw new Error(`${what}\n       got ${JSON.stringify(got)}\n  expected ${JSON.stringify(expected)}`);
  }
}

function holds(condition, seen) {
  if (!condition) throw new Error(JSON.stringify(seen));
}

// What the fake's assistant says, having been shown these prompts and having given so many answers between them.
function answer(prompts, { answers = prompts.length - 1, told = [], outputs = [], images = 0 } = {}) {
  const quoted = (texts) => texts.map((text) => `"${text}"`).join(", ");
  let text = `Answer ${answers + 1} to ${quoted(prompts.slice(-1))}`;
  if (prompts.length > 1) text += `, after ${quoted(prompts.slice(0, -1))}`;
  text += ".";
  if (told.length) text += ` Told ${quoted(told)}.`;
  if (outputs.length) text += ` Tools said ${quoted(outputs)}.`;
  if (images) text += ` With ${images} image${images > 1 ? "s" : ""}.`;
  return text;
}

// How the demo's answer begins, having been shown these prompts.
function demoAnswer(prompts) {
  const memory =
    prompts.length === 1
      ? "This is the first thing you have said to me."
      : `This is turn ${prompts.length} that I can see. Before this you said "${prompts.at(-2)}", ` +
        `and it all began with "${prompts[0]}".`;
  return `[demo] You said: "${prompts.at(-1)}". ${memory} `;
}

// Compares an answer with what the model behind the server must have said.
function equalAnswer(text, prompts, shown) {
  if (OVER !== "demo") return equal(text, answer(prompts, shown));
  const expected = demoAnswer(prompts);
  equal(text.slice(0, expected.length), expected);
  holds(text.endsWith(" restart to talk to a real one."), text);
}

// The error of exactly this class that `work` ends with, the fields given compared.
async function raises(kind, work, fields = {}) {
  let got;
  try {
    got = await work();
    if (got?.[Symbol.asyncIterator] && got.controller) got = await collect(got);
  } catch (error) {
    equal(error.constructor.name, kind.name, String(error));
    for (const [name, value] of Object.entries(fields)) equal(error[name], value, `${name} of ${error}`);
    holds(error.requestID?.startsWith("req_"), error);
    holds(!`${error}${JSON.stringify(error.error)}`.includes("canary"), String(error));
    return error;
  }
  throw new Error(`no ${kind.name}, but ${JSON.stringify(got)}`);
}

async function collect(iterable) {
  const all = [];
  for await (const one of iterable) all.push(one);
  return all;
}

// Waits until `look` gives something true; returns it.
async function eventually(what, look) {
  const deadline = Date.now() + SOON;
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    if (Date.now() > deadline) throw new Error(`never came true: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

// A name that no other check uses.
const unique = (word) => `${word}-${randomBytes(6).toString("hex")}`;

// A client of the SDK that counts its tries: `tries()` gives the retry counts sent since it was last asked.
function counting(options) {
  const { OpenAI } = require(OPENAI);
  let sent = [];
  const client = new OpenAI({
    timeout: SOON,
    ...options,
    fetch: (url, init) => {
      sent.push(Number(new Headers(init.headers).get("x-stainless-retry-count")));
      return fetch(url, init);
    },
  });
  const tries = () => sent.splice(0);
  return { client, tries };
}

// Runs the checks, all of them; the script fails when one has.
async function run(...checks) {
  const wanted = process.argv.slice(2);
  const failed = [];
  for (const check of checks) {
    if (wanted.length && !wanted.includes(check.name)) continue;
    const began = Date.now();
    try {
      await check();
      console.log(`ok ${check.name} (${((Date.now() - began) / 1000).toFixed(2)} s)`);
    } catch (error) {
      failed.push(check.name);
      console.log(`FAILED ${check.name}\n${error?.stack ?? error}`);
    }
  }
  if (failed.length) console.error(`failed: ${failed.join(", ")}`);
  process.exit(failed.length ? 1 : 0);
}

module.exports = { BASE_URL, KEY, OTHER_KEY, OVER, MODEL, OPENAI, SOON, equal, holds, equalAnswer, raises, collect };
Object.assign(module.exports, { eventually, unique, counting, run });
