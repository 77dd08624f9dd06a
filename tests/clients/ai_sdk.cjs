// The Vercel AI SDK with its OpenAI provider: responses and chat; streams, schemas, tool loops, state, errors.

const { APICallError, Output, embed, generateText, stepCountIs, streamText, tool } = require("ai");
const { createOpenAI } = require("@ai-sdk/openai");
const { z } = require("zod");

const shared = require("./shared.cjs");
const { BASE_URL, KEY, MODEL, OVER, collect, equal, equalAnswer, holds, run, unique } = shared;

let sent = [];
const openai = createOpenAI({
  baseURL: BASE_URL,
  apiKey: KEY,
  fetch: (url, init) => {
    sent.push(init.body ? JSON.parse(init.body) : null);
    return fetch(url, init);
  },
});
const model = openai(MODEL);
const tools = {
  get_weather: tool({
    description: "The weather of a city",
    inputSchema: z.object({ city: z.string() }),
    execute: ({ city }) => `21 degrees in ${city}`,
  }),
};
const told = { told: ["Be kind."] };

async function responses() {
  const { text, finishReason, usage, response } = await generateText({ model, system: "Be kind.", prompt: "Ahoy" });
  equalAnswer(text, ["Ahoy"], told);
  equal(finishReason, "stop");
  holds(usage.inputTokens > 0 && usage.outputTokens > 0, usage);
  holds(response.id.startsWith("resp_") && response.headers["x-request-id"].startsWith("req_"), response);
}

async function streamed() {
  const result = streamText({ model, system: "Be kind.", prompt: "Ahoy" });
  const parts = await collect(result.fullStream);
  const errors = parts.filter((part) => part.type === "error");
  equal(errors, []);
  const deltas = parts.filter((part) => part.type === "text-delta").map((part) => part.text);
  holds(deltas.length, deltas);
  equalAnswer(deltas.join(""), ["Ahoy"], told);
  equal(await result.text, deltas.join(""));
  equal([await result.finishReason, (await result.usage).outputTokens > 0], ["stop", true]);
}

async function chat() {
  const { text, finishReason } = await generateText({ model: openai.chat(MODEL), system: "Be kind.", prompt: "Ahoy" });
  equalAnswer(text, ["Ahoy"], told);
  equal(finishReason, "stop");
  const result = streamText({ model: openai.chat(MODEL), prompt: "Ahoy" });
  equalAnswer((await collect(result.textStream)).join(""), ["Ahoy"]);
}

// The whole history sent again, as the SDK does by default: what it got stands in it by reference.
async function history() {
  const messages = [{ role: "user", content: "One" }];
  for (const next of ["Two", "Three"]) {
    const { response } = await generateText({ model, messages });
    messages.push(...response.messages, { role: "user", content: next });
  }
  equalAnswer((await generateText({ model, messages })).text, ["One", "Two", "Three"]);
  const providerOptions = { openai: { store: false } };
  const loose = await generateText({ model, messages: messages.slice(0, 1), providerOptions });
  const more = [messages[0], ...loose.response.messages, { role: "user", content: "Two" }];
  equalAnswer((await generateText({ model, messages: more, providerOptions })).text, ["One", "Two"]);
}

async function state() {
  const first = await generateText({ model, prompt: "One" });
  const previousResponseId = first.providerMetadata.openai.responseId;
  const result = streamText({ model, prompt: "Two", providerOptions: { openai: { previousResponseId } } });
  equalAnswer(await result.text, ["One", "Two"]);
  const created = await fetch(`${BASE_URL}/conversations`, {
    method: "POST",
    headers: { authorization: `Bearer ${KEY}`, "content-type": "application/json" },
    body: "{}",
  });
  const conversation = (await created.json()).id;
  const providerOptions = { openai: { conversation } };
  for (const prompt of ["Three", "Four"]) await generateText({ model, prompt, providerOptions });
  equalAnswer((await generateText({ model, prompt: "Five", providerOptions })).text, ["Three", "Four", "Five"]);
}

async function structured() {
  const output = Output.object({ schema: z.object({ name: z.string(), age: z.number() }) });
  for (const one of [model, openai.chat(MODEL)]) {
    equal((await generateText({ model: one, prompt: "A pet", output })).output, { name: "name", age: 7 });
    const result = streamText({ model: one, prompt: "A pet", output });
    const partial = await collect(result.partialOutputStream);
    equal(
      [partial.at(-1), await result.output],
      [
        { name: "name", age: 7 },
        { name: "name", age: 7 },
      ],
    );
  }
}

// Two steps: the call, and the answer to its output.
async function toolLoop() {
  const loop = { prompt: "Use get_weather.", tools, stopWhen: stepCountIs(3) };
  const stateless = { openai: { store: false } };
  for (const [one, providerOptions] of [
    [model, {}],
    [model, stateless],
    [openai.chat(MODEL), {}],
  ]) {
    const { text, steps } = await generateText({ ...loop, model: one, providerOptions });
    equal(text, "The tool said: 21 degrees in city.");
    equal(
      steps.map((step) => step.finishReason),
      ["tool-calls", "stop"],
    );
    equal(
      steps[0].toolCalls.map((call) => [call.toolName, call.input]),
      [["get_weather", { city: "city" }]],
    );
    const result = streamText({ ...loop, model: one, providerOptions });
    const errors = (await collect(result.fullStream)).filter((part) => part.type.includes("error"));
    equal([errors, await result.text], [[], "The tool said: 21 degrees in city."]);
  }
}

async function reasoning() {
  const result = streamText({ model, prompt: "Ahoy", providerOptions: { openai: { reasoningEffort: "low" } } });
  const errors = (await collect(result.fullStream)).filter((part) => part.type === "error");
  equal(errors, []);
  equalAnswer(await result.text, ["Ahoy"]);
  equal((await result.usage).outputTokenDetails.reasoningTokens, 3);
}

async function errors() {
  const failed = (settings) =>
    generateText({ model, maxRetries: 0, ...settings }).then(
      () => null,
      (error) => error,
    );
  const other = createOpenAI({ baseURL: BASE_URL, apiKey: "not-a-key-of-this-server" });
  for (const [settings, status, retryable] of [
    [{ prompt: "!429" }, 429, true],
    [{ prompt: "!400" }, 400, false],
    [{ prompt: "!404" }, 404, false],
    [{ prompt: "!500" }, 502, true],
    [{ prompt: "Ahoy", model: other(MODEL) }, 401, false],
    [{ prompt: "Ahoy", providerOptions: { openai: { previousResponseId: "resp_none" } } }, 400, false],
  ]) {
    const error = await failed(settings);
    holds(APICallError.isInstance(error), String(error));
    equal([error.statusCode, error.isRetryable], [status, retryable], settings.prompt);
    holds(error.message && error.data.error.type, error);
  }
  const result = streamText({ model, prompt: "!fin", onError: () => {} });
  const parts = await collect(result.fullStream);
  const said = parts.filter((part) => part.type === "text-delta").map((part) => part.text);
  equal(said.join(""), "These are some words that come before the fault.");
  equal(parts.at(-1).finishReason, "error");
}

async function retried() {
  const name = unique("once");
  sent = [];
  equal((await generateText({ model, prompt: `!once ${name} 429-ms` })).text, `Well, ${name}.`);
  equal(sent.length, 2, "retry-after-ms is obeyed");
}

async function embeddings() {
  const { embedding } = await embed({ model: openai.embedding("text-embedding-3-small"), value: "Ahoy" });
  equal(
    embedding.slice(0, 2).map((x) => x.toFixed(4)),
    ["0.5000", "0.3333"],
  );
}

globalThis.AI_SDK_LOG_WARNINGS = false;
const both = [responses, streamed, chat, history, state];
run(...both, ...(OVER === "demo" ? [] : [structured, toolLoop, reasoning, errors, retried, embeddings]));
