// The official Node.js SDK: chat completions, plain, streamed, stored, with tools and schemas; models; errors.

const {
  MODEL,
  OPENAI,
  OTHER_KEY,
  OVER,
  SOON,
  collect,
  counting,
  equal,
  equalAnswer,
  holds,
  raises,
  run,
  unique,
} = require("./shared.cjs");
const {
  OpenAI,
  APIError,
  AuthenticationError,
  BadRequestError,
  InternalServerError,
  NotFoundError,
  RateLimitError,
} = require(OPENAI);
const { zodResponseFormat, zodFunction } = require(`${OPENAI}/helpers/zod`);
const { z } = require("zod");

const client = new OpenAI({ maxRetries: 0, timeout: SOON });
const completions = client.chat.completions;
const Pet = z.object({ name: z.string(), age: z.number() });

const messages = (text) => [
  { role: "system", content: "Be kind." },
  { role: "user", content: text },
];
const ask = (text, more) => completions.create({ model: MODEL, messages: messages(text), ...more });

function equalSaid(completion, text) {
  const choice = completion.choices[0];
  equal([choice.message.role, choice.finish_reason, choice.message.refusal], ["assistant", "stop", null]);
  equalAnswer(choice.message.content, [text], { told: ["Be kind."] });
}

async function plain() {
  const { data, request_id } = await ask("Ahoy").withResponse();
  holds(request_id.startsWith("req_"), request_id);
  equal([data.object, data.model, data.choices.length], ["chat.completion", MODEL, 1]);
  equalSaid(data, "Ahoy");
  equal(data.usage.total_tokens, data.usage.prompt_tokens + data.usage.completion_tokens);
}

async function streamed() {
  const chunks = await collect(await ask("Ahoy", { stream: true, stream_options: { include_usage: true } }));
  equal(chunks[0].choices[0].delta.role, "assistant");
  const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
  equalAnswer(text, ["Ahoy"], { told: ["Be kind."] });
  equal(new Set(chunks.map((chunk) => chunk.id)).size, 1);
  holds(chunks.at(-1).usage.total_tokens > 0 && !chunks.at(-1).choices.length, chunks.at(-1));
}

async function streamHelper() {
  const stream = completions.stream({ model: MODEL, messages: messages("Ahoy") });
  let text = "";
  stream.on("content", (delta) => (text += delta));
  equalSaid(await stream.finalChatCompletion(), "Ahoy");
  equalAnswer(text, ["Ahoy"], { told: ["Be kind."] });
}

async function models() {
  const found = (await collect(client.models.list())).map((model) => model.id);
  holds(found.includes(MODEL), found);
  equal((await client.models.retrieve(MODEL)).id, MODEL);
  await raises(NotFoundError, () => client.models.retrieve("no/such model"), { code: "model_not_found" });
}

async function structured() {
  const more = { model: MODEL, messages: messages("A pet"), response_format: zodResponseFormat(Pet, "pet") };
  equal((await completions.parse(more)).choices[0].message.parsed, { name: "name", age: 7 });
  equal((await completions.stream(more).finalChatCompletion()).choices[0].message.parsed, { name: "name", age: 7 });
}

// The helper that runs tools by itself, plain and streamed.
async function toolLoop() {
  const seen = [];
  const parameters = z.object({ city: z.string() });
  const run = ({ city }) => (seen.push(city), `21 degrees in ${city}`);
  const tools = [zodFunction({ name: "get_weather", parameters, function: run })];
  for (const stream of [false, true]) {
    const runner = completions.runTools({ model: MODEL, messages: messages("Use get_weather."), tools, stream });
    equal(await runner.finalContent(), "The tool said: 21 degrees in city.");
    const roles = runner.messages.map((message) => message.role);
    equal(roles, ["system", "user", "assistant", "tool", "assistant"]);
  }
  equal(seen, ["city", "city"]);
}

async function stored() {
  const mark = unique("mark");
  const kept = [];
  for (const text of ["One", "Two", "Three"]) kept.push(await ask(text, { store: true, metadata: { mark } }));
  const ids = kept.map((completion) => completion.id);
  const found = await completions.retrieve(ids[0]);
  equal([found.id, found.metadata], [ids[0], { mark }]);
  equalSaid(found, "One");
  const list = async (query) =>
    (await collect(completions.list({ metadata: { mark }, ...query }))).map((one) => one.id);
  equal(await list({ limit: 2, order: "asc" }), ids);
  equal(await list({ order: "desc" }), ids.toReversed());
  const said = await collect(completions.messages.list(ids[0], { limit: 1, order: "asc" }));
  equal(
    said.map((message) => [message.role, message.content]),
    [
      ["system", "Be kind."],
      ["user", "One"],
    ],
  );
  equal((await completions.update(ids[0], { metadata: { mark: "another" } })).metadata, { mark: "another" });
  equal(await list({ order: "asc" }), ids.slice(1));
  for (const id of ids) {
    const gone = await completions.delete(id);
    equal([gone.id, gone.deleted, gone.object], [id, true, "chat.completion.deleted"]);
    await raises(NotFoundError, () => completions.retrieve(id), { status: 404 });
  }
}

async function othersSeeNothing() {
  const completion = await ask("Ahoy", { store: true });
  const other = client.withOptions({ apiKey: OTHER_KEY }).chat.completions;
  await raises(NotFoundError, () => other.retrieve(completion.id), { status: 404 });
  equal(await collect(other.list()), []);
  await completions.delete(completion.id);
}

async function errors() {
  const wrong = client.withOptions({ apiKey: "not-a-key-of-this-server" }).chat.completions;
  const call = { model: MODEL, messages: messages("Ahoy") };
  await raises(AuthenticationError, () => wrong.create(call), { status: 401, code: "invalid_api_key" });
  for (const stream of [false, true]) {
    const refused = (prompt, kind, status, code) => raises(kind, () => ask(prompt, { stream }), { status, code });
    await refused("!429", RateLimitError, 429, "rate_limit_exceeded");
    await refused("!quota", RateLimitError, 429, "insufficient_quota");
    await refused("!400", BadRequestError, 400, "context_length_exceeded");
    await refused("!404", NotFoundError, 404, "model_not_found");
    await refused("!401-leak", InternalServerError, 502, "upstream_refused_key");
    await refused("!500", InternalServerError, 502, "upstream_unavailable");
  }
}

async function mended() {
  for (const fault of ["!norole", "!nodone", "!split", "!chars", "!ping"]) {
    const stream = completions.stream({ model: MODEL, messages: messages(fault) });
    const content = (await stream.finalChatCompletion()).choices[0].message.content;
    holds(content.includes("ok") || content.startsWith("These are some words that come before the fault."), content);
  }
  for (const fault of ["!fin", "!error", "!badjson"]) {
    const error = await collect(await ask(fault, { stream: true })).then(
      () => null,
      (error) => error,
    );
    holds(error instanceof APIError && error.code.startsWith("upstream_"), `${fault}: ${error}`);
  }
}

async function retried() {
  const { client, tries } = counting({ maxRetries: 2 });
  const create = (text) => client.chat.completions.create({ model: MODEL, messages: messages(text) });
  await raises(RateLimitError, () => create("!429-ms"), { code: "rate_limit_exceeded" });
  equal(tries(), [0, 1, 2], "retry-after-ms is obeyed");
  await raises(RateLimitError, () => create("!quota"), { code: "insufficient_quota" });
  equal(tries(), [0], "what is hopeless is not tried again");
  const name = unique("once");
  equal((await create(`!once ${name} 503`)).choices[0].message.content, `Well, ${name}.`);
  equal(tries(), [0, 1], "and what passes is");
}

async function embeddings() {
  const found = await client.embeddings.create({ model: "text-embedding-3-small", input: "Ahoy", dimensions: 3 });
  equal(
    found.data[0].embedding.map((x) => x.toFixed(4)),
    ["0.5000", "0.3333", "0.2500"],
  );
}

const both = [plain, streamed, streamHelper, models, stored];
const fake = [structured, toolLoop, othersSeeNothing, errors, mended, retried, embeddings];
run(...both, ...(OVER === "demo" ? [] : fake));
