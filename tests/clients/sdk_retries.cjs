// The official Node.js SDK loses the answer to each first try (tests/it/clients/cutter.rs), and tries again by itself.
//
// Prints `calls N`: how many calls it made, each of which may have become one turn only.

const { MODEL, OPENAI, SOON, collect, counting, equal, equalAnswer, eventually, holds, run } = require("./shared.cjs");
const { OpenAI } = require(OPENAI);

const { client, tries } = counting({ maxRetries: 2 });
// The same server, with nobody in between.
const direct = new OpenAI({ baseURL: process.env.DIRECT_BASE_URL, maxRetries: 0, timeout: SOON });
const bare = ({ output_text, _request_id, ...response }) => response;

async function create(more) {
  const made = await client.responses.create({ model: MODEL, ...more });
  equal(tries(), [0, 1]);
  return made;
}

async function toldOnce(response, prompts) {
  const kept = await direct.responses.retrieve(response.id);
  equalAnswer(kept.output_text, prompts);
  equal(bare(kept), bare(response));
}

async function plain() {
  await toldOnce(await create({ input: "Plain" }), ["Plain"]);
  console.log("calls 1");
}

async function chained() {
  const first = await create({ input: "One" });
  await toldOnce(await create({ input: "Two", previous_response_id: first.id }), ["One", "Two"]);
  console.log("calls 2");
}

async function streamed() {
  const events = await collect(await create({ input: "Streamed", stream: true }));
  equal(
    events.map((event) => event.sequence_number),
    [...events.keys()],
  );
  equal([events[0].type, events.at(-1).type], ["response.created", "response.completed"]);
  await toldOnce(events.at(-1).response, ["Streamed"]);
  console.log("calls 1");
}

async function streamHelper() {
  const final = await client.responses.stream({ model: MODEL, input: "Helped" }).finalResponse();
  equal(tries(), [0, 1]);
  equalAnswer((await direct.responses.retrieve(final.id)).output_text, ["Helped"]);
  console.log("calls 1");
}

async function inAConversation() {
  const { id } = await direct.conversations.create();
  await toldOnce(await create({ input: "One", conversation: id }), ["One"]);
  const events = await collect(await create({ input: "Two", conversation: id, stream: true }));
  await toldOnce(events.at(-1).response, ["One", "Two"]);
  const kept = await collect(direct.conversations.items.list(id, { order: "asc" }));
  equal(
    kept.map((item) => item.role),
    ["user", "assistant", "user", "assistant"],
  );
  console.log("calls 2");
}

async function background() {
  const { id } = await create({ input: "Background", background: true });
  const ended = async () => {
    const response = await direct.responses.retrieve(id);
    return response.status === "completed" && response;
  };
  await toldOnce(await eventually("it ends", ended), ["Background"]);
  console.log("calls 1");
}

// This one loses its connection at once: the second try finds the first still being answered.
async function whileItRuns() {
  equal((await create({ input: "!slow" })).output_text, "These are some words that come before the fault.");
  console.log("calls 1");
}

// Two that are meant to be two stay two.
async function theSameTwice() {
  const first = await create({ input: "Same" });
  const second = await create({ input: "Same" });
  holds(first.id !== second.id, first.id);
  await toldOnce(first, ["Same"]);
  await toldOnce(second, ["Same"]);
  console.log("calls 2");
}

run(plain, chained, streamed, streamHelper, inAConversation, background, whileItRuns, theSameTwice);
