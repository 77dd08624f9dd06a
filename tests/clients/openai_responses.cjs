// The official Node.js SDK: responses, plain, streamed, through the stream helper, with schemas and tools, chained, in
// the background, cancelled, resumed; errors, retries, WebSocket.

const shared = require("./shared.cjs");
const { MODEL, OPENAI, OTHER_KEY, OVER, SOON, collect, counting, equal, equalAnswer, eventually, holds } = shared;
const { raises, run, unique } = shared;
const { OpenAI, AuthenticationError, BadRequestError, InternalServerError, NotFoundError, RateLimitError } = require(
  OPENAI,
);
const { zodTextFormat, zodResponsesFunction } = require(`${OPENAI}/helpers/zod`);
const { ResponsesWS } = require(`${OPENAI}/resources/responses/ws`);
const { z } = require("zod");

const client = new OpenAI({ maxRetries: 0, timeout: SOON });
const { responses } = client;
const Pet = z.object({ name: z.string(), age: z.number() });
const tool = (name) => zodResponsesFunction({ name, parameters: z.object({ city: z.string() }) });
const tools = [tool("get_weather"), tool("get_time")];
const BEFORE = "These words come before the gate.";
const WHOLE = `${BEFORE} These come after it.`;

const ask = (input, more) => responses.create({ model: MODEL, input, ...more });
const textOf = (events) =>
  events.map((event) => (event.type === "response.output_text.delta" ? event.delta : "")).join("");
// A response as the server holds it, without what the SDK adds.
const bare = ({ output_text, _request_id, ...response }) => response;
const ended = (id) =>
  eventually("it ends", async () => {
    const response = await responses.retrieve(id);
    return !["queued", "in_progress"].includes(response.status) && response;
  });

async function openGate(name) {
  const messages = [{ role: "user", content: `!open ${name}` }];
  equal(
    (await client.chat.completions.create({ model: MODEL, messages })).choices[0].message.content,
    `Opened ${name}.`,
  );
}

// The events of a stream up to the words before the gate; the connection is then closed.
async function readUntilGate(stream) {
  const events = [];
  for await (const event of stream) {
    events.push(event);
    if (textOf(events) === BEFORE) return events;
  }
  throw new Error("no gate");
}

async function plain() {
  const response = await ask("Ahoy", { instructions: "Be kind.", metadata: { ship: "Beagle" } });
  holds(response._request_id.startsWith("req_") && response.id.startsWith("resp_"), response);
  equal([response.object, response.status, response.error], ["response", "completed", null]);
  equal([response.model, response.instructions, response.metadata], [MODEL, "Be kind.", { ship: "Beagle" }]);
  equal(
    response.output.map((item) => [item.type, item.role, item.status]),
    [["message", "assistant", "completed"]],
  );
  equalAnswer(response.output_text, ["Ahoy"], { told: ["Be kind."] });
  equal(bare(await responses.retrieve(response.id)), bare(response));
  await responses.delete(response.id);
  await raises(NotFoundError, () => responses.retrieve(response.id), { status: 404 });
}

async function streamed() {
  const events = await collect(await ask("Ahoy", { stream: true }));
  equal(
    events.map((event) => event.sequence_number),
    [...events.keys()],
  );
  equal([events[0].type, events.at(-1).type], ["response.created", "response.completed"]);
  equalAnswer(textOf(events), ["Ahoy"]);
}

async function streamHelper() {
  const stream = responses.stream({ model: MODEL, input: "Ahoy" });
  let snapshot = "";
  stream.on("response.output_text.delta", (event) => (snapshot = event.snapshot));
  const final = await stream.finalResponse();
  equalAnswer(final.output_text, ["Ahoy"]);
  equal(snapshot, final.output_text);
  const again = responses.stream({ response_id: final.id, starting_after: 3 });
  equal((await collect(again))[0].sequence_number, 4);
  equal((await again.finalResponse()).output_text, final.output_text);
}

async function chained() {
  const first = await ask("One", { instructions: "Be kind." });
  const second = await ask("Two", { previous_response_id: first.id });
  equal(second.previous_response_id, first.id);
  equalAnswer(second.output_text, ["One", "Two"]);
  const stream = responses.stream({ model: MODEL, input: "Three", previous_response_id: second.id });
  equalAnswer((await stream.finalResponse()).output_text, ["One", "Two", "Three"]);
  const loose = await ask("Ahoy", { store: false });
  await raises(NotFoundError, () => responses.retrieve(loose.id), { status: 404 });
  const missing = { status: 400, code: "previous_response_not_found", param: "previous_response_id" };
  await raises(BadRequestError, () => ask("And?", { previous_response_id: loose.id }), missing);
}

async function inputItems() {
  const input = [
    { role: "user", content: "One" },
    { role: "assistant", content: "I." },
    { role: "user", content: "Two" },
  ];
  const response = await ask(input);
  const items = await collect(responses.inputItems.list(response.id, { order: "asc", limit: 1 }));
  equal(
    items.map((item) => [item.role, item.content[0].text]),
    input.map((item) => [item.role, item.content]),
  );
  const counted = await responses.inputTokens.count({ model: MODEL, input: "Ahoy" });
  holds(counted.input_tokens > 0 && counted.object === "response.input_tokens", counted);
}

async function structured() {
  const more = { model: MODEL, input: "A pet", text: { format: zodTextFormat(Pet, "pet") } };
  equal((await responses.parse(more)).output_parsed, { name: "name", age: 7 });
  equal((await responses.stream(more).finalResponse()).output_parsed, { name: "name", age: 7 });
}

async function toolsWithPreviousId() {
  const first = await responses.parse({ model: MODEL, input: "Use get_weather.", tools });
  const [call] = first.output;
  equal([call.type, call.name, call.parsed_arguments], ["function_call", "get_weather", { city: "city" }]);
  const output = { type: "function_call_output", call_id: call.call_id, output: "21 degrees" };
  const second = await ask([output], { previous_response_id: first.id, tools });
  equal(second.output_text, "The tool said: 21 degrees.");
  const third = await ask("And now?", { previous_response_id: second.id, tools });
  equalAnswer(third.output_text, ["Use get_weather.", "And now?"], { outputs: ["21 degrees"] });
}

async function toolsWithWholeHistory() {
  const history = [{ role: "user", content: "Use get_weather and get_time." }];
  const stream = responses.stream({ model: MODEL, input: history, tools, store: false });
  const { output } = await stream.finalResponse();
  equal(
    output.map((call) => [call.name, call.arguments]),
    [
      ["get_weather", '{"city":"city"}'],
      ["get_time", '{"city":"city"}'],
    ],
  );
  history.push(...output.map(({ parsed_arguments, ...call }) => call));
  for (const call of output) history.push({ type: "function_call_output", call_id: call.call_id, output: call.name });
  equal((await ask(history, { tools, store: false })).output_text, "The tools said: get_weather; get_time.");
}

async function background() {
  const name = unique("background");
  const response = await ask(`!wait ${name}`, { background: true });
  holds(["queued", "in_progress"].includes(response.status), response);
  await openGate(name);
  equal((await ended(response.id)).output_text, WHOLE);
}

async function cancel() {
  const response = await ask("!hang-middle", { background: true });
  await eventually("it runs", async () => (await responses.retrieve(response.id)).status === "in_progress");
  equal((await responses.cancel(response.id)).status, "cancelled");
  equal((await ended(response.id)).status, "cancelled");
}

async function resumeAfterACut() {
  const name = unique("resume");
  const begun = await readUntilGate(await ask(`!wait ${name}`, { stream: true }));
  const { id } = begun[0].response;
  const starting_after = begun.at(-1).sequence_number;
  const resumed = await responses.retrieve(id, { stream: true, starting_after });
  await openGate(name);
  const rest = await collect(resumed);
  equal(rest[0].sequence_number, starting_after + 1);
  equal([textOf([...begun, ...rest]), rest.at(-1).type], [WHOLE, "response.completed"]);
  equal([...begun, ...rest], await collect(await responses.retrieve(id, { stream: true })));
}

async function errors() {
  const wrong = client.withOptions({ apiKey: "not-a-key-of-this-server" }).responses;
  const call = { model: MODEL, input: "Ahoy" };
  await raises(AuthenticationError, () => wrong.create(call), { status: 401, code: "invalid_api_key" });
  for (const stream of [false, true]) {
    const refused = (prompt, kind, status, code) => raises(kind, () => ask(prompt, { stream }), { status, code });
    await refused("!429", RateLimitError, 429, "rate_limit_exceeded");
    await refused("!400", BadRequestError, 400, "context_length_exceeded");
    await refused("!404", NotFoundError, 404, "model_not_found");
    await refused("!401-leak", InternalServerError, 502, "upstream_refused_key");
    await refused("!500", InternalServerError, 502, "upstream_unavailable");
  }
  await raises(BadRequestError, () => ask("Ahoy", { temperature: 3 }), { status: 400, param: "temperature" });
  await raises(BadRequestError, () => ask("Ahoy", { top_p: 3 }), { status: 400, param: "top_p" });
  await raises(NotFoundError, () => responses.retrieve("resp_none"), { status: 404, type: "invalid_request_error" });
  const response = await ask("Ahoy");
  const other = client.withOptions({ apiKey: OTHER_KEY }).responses;
  await raises(NotFoundError, () => other.retrieve(response.id), { status: 404 });
}

async function retried() {
  const { client, tries } = counting({ maxRetries: 2 });
  for (const stream of [false, true]) {
    const create = (input) => client.responses.create({ model: MODEL, input, stream });
    await raises(RateLimitError, () => create("!429-ms"), { code: "rate_limit_exceeded" });
    equal(tries(), [0, 1, 2], "retry-after-ms is obeyed");
    await raises(RateLimitError, () => create("!quota"), { code: "insufficient_quota" });
    equal(tries(), [0], "what is hopeless is not tried again");
  }
  const name = unique("once");
  equal((await client.responses.create({ model: MODEL, input: `!once ${name} 503` })).output_text, `Well, ${name}.`);
  equal(tries(), [0, 1], "and what passes is");
}

async function websocket() {
  const socket = new ResponsesWS(client);
  const events = socket.stream()[Symbol.asyncIterator]();
  const turn = async (input, more) => {
    socket.send({ type: "response.create", model: MODEL, input, ...more });
    for (;;) {
      const { value } = await events.next();
      if (value.type === "error") throw value.error;
      if (value.type === "message" && value.message.type === "response.completed") return value.message.response;
    }
  };
  const said = (response) => response.output[0].content[0].text;
  const first = await turn("One", { store: false });
  equalAnswer(said(first), ["One"]);
  equalAnswer(said(await turn("Two", { store: false, previous_response_id: first.id })), ["One", "Two"]);
  socket.close();
}

const both = [plain, streamed, streamHelper, chained, inputItems, websocket];
const fake = [
  structured,
  toolsWithPreviousId,
  toolsWithWholeHistory,
  background,
  cancel,
  resumeAfterACut,
  errors,
  retried,
];
run(...both, ...(OVER === "demo" ? [] : fake));
