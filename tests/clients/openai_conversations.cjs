// The official Node.js SDK: conversations, their items and pages, and responses that continue them.

const shared = require("./shared.cjs");
const { MODEL, OPENAI, OTHER_KEY, OVER, SOON, collect, counting, equal, equalAnswer, holds, raises, run, unique } =
  shared;
const { OpenAI, BadRequestError, ConflictError, NotFoundError } = require(OPENAI);

const client = new OpenAI({ maxRetries: 0, timeout: SOON });
const { conversations, responses } = client;
const { items } = conversations;

const message = (content, role = "user") => ({ type: "message", role, content });
const textOf = (item) => item.content.map((part) => part.text).join("");
const list = (id, query) => collect(items.list(id, { order: "asc", ...query }));
const texts = async (id, query) => (await list(id, query)).map(textOf);

async function crud() {
  const created = await conversations.create({ metadata: { topic: "ships" } });
  holds(created.id.startsWith("conv_"), created);
  equal([created.object, created.metadata], ["conversation", { topic: "ships" }]);
  equal(await conversations.retrieve(created.id), created);
  equal((await conversations.update(created.id, { metadata: { topic: "boats" } })).metadata, { topic: "boats" });
  const gone = await conversations.delete(created.id);
  equal([gone.id, gone.deleted, gone.object], [created.id, true, "conversation.deleted"]);
  await raises(NotFoundError, () => conversations.retrieve(created.id), { status: 404 });
  await raises(NotFoundError, () => conversations.delete(created.id), { status: 404 });
}

async function itemCrud() {
  const { id } = await conversations.create();
  const added = await items.create(id, { items: [message("One"), message("I.", "assistant")] });
  const [first, second] = added.data;
  equal([added.object, added.has_more, added.first_id, added.last_id], ["list", false, first.id, second.id]);
  equal(await items.retrieve(first.id, { conversation_id: id }), first);
  equal((await items.delete(first.id, { conversation_id: id })).id, id);
  equal(await texts(id), ["I."]);
  await raises(NotFoundError, () => items.retrieve(first.id, { conversation_id: id }), { status: 404 });
  await raises(BadRequestError, () => items.create(id, { items: Array(21).fill(message("x")) }), { status: 400 });
}

async function pages() {
  const everything = [0, 1, 2, 3, 4].map((n) => `Number ${n}`);
  const { id } = await conversations.create({ items: everything.map((text) => message(text)) });
  for (const limit of [1, 2, 5, 100]) equal(await texts(id, { limit }), everything);
  equal(await texts(id, { limit: 2, order: "desc" }), everything.toReversed());
  const page = await items.list(id, { order: "asc", limit: 2 });
  equal([page.data.map(textOf), page.has_more, page.last_id], [everything.slice(0, 2), true, page.data[1].id]);
  const next = await page.getNextPage();
  equal(next.data.map(textOf), everything.slice(2, 4));
}

async function continued() {
  const { id } = await conversations.create();
  const first = await responses.create({ model: MODEL, input: "One", conversation: id });
  equal(first.conversation, { id });
  const stream = responses.stream({ model: MODEL, input: "Two", conversation: { id } });
  const second = await stream.finalResponse();
  equalAnswer(second.output_text, ["One", "Two"]);
  equal(await texts(id), ["One", first.output_text, "Two", second.output_text]);
  const unknown = { model: MODEL, input: "x", conversation: "conv_none" };
  await raises(NotFoundError, () => responses.create(unknown), { status: 404 });
}

async function busy() {
  const { id } = await conversations.create();
  const name = unique("busy");
  const stream = await responses.create({ model: MODEL, input: `!wait ${name}`, conversation: id, stream: true });
  const events = stream[Symbol.asyncIterator]();
  while ((await events.next()).value.type !== "response.output_text.delta");
  const call = { model: MODEL, input: "Two", conversation: id };
  await raises(ConflictError, () => responses.create(call), { status: 409, code: "conversation_locked" });
  const { client: patient, tries } = counting({ maxRetries: 8 });
  const again = patient.responses.create(call);
  await client.chat.completions.create({ model: MODEL, messages: [{ role: "user", content: `!open ${name}` }] });
  equalAnswer((await again).output_text, [`!wait ${name}`, "Two"]);
  holds(tries()[0] === 0, "it was tried");
}

async function othersSeeNothing() {
  const { id } = await conversations.create({ items: [message("One")] });
  const other = client.withOptions({ apiKey: OTHER_KEY });
  await raises(NotFoundError, () => other.conversations.retrieve(id), { status: 404 });
  await raises(NotFoundError, () => other.conversations.items.list(id), { status: 404 });
  const call = { model: MODEL, input: "x", conversation: id };
  await raises(NotFoundError, () => other.responses.create(call), { status: 404 });
  equal(await texts(id), ["One"]);
}

run(crud, itemCrud, pages, continued, ...(OVER === "demo" ? [] : [busy, othersSeeNothing]));
