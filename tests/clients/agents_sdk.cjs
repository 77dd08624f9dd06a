// The OpenAI Agents SDK in JavaScript: over responses and chat, with tools, and sessions kept as conversations.

const {
  Agent,
  OpenAIChatCompletionsModel,
  OpenAIConversationsSession,
  OpenAIResponsesModel,
  Runner,
  tool,
} = require("@openai/agents");
const { OpenAI, BadRequestError, NotFoundError, RateLimitError } = require("openai");
const { z } = require("zod");

const { MODEL, OVER, SOON, equal, equalAnswer, holds, run } = require("./shared.cjs");

const client = new OpenAI({ maxRetries: 0, timeout: SOON });
const runner = new Runner({ tracingDisabled: true });
const told = { told: ["Be kind."] };
const getWeather = tool({
  name: "get_weather",
  description: "The weather of a city",
  parameters: z.object({ city: z.string() }),
  execute: ({ city }) => `21 degrees in ${city}`,
});

const agentOver = (Model, more) =>
  new Agent({ name: "Assistant", instructions: "Be kind.", model: new Model(client, MODEL), ...more });
const agent = (more) => agentOver(OpenAIResponsesModel, more);
const agents = (more) => [agent(more), agentOver(OpenAIChatCompletionsModel, more)];

async function plain() {
  for (const one of agents()) {
    const result = await runner.run(one, "Ahoy");
    equalAnswer(result.finalOutput, ["Ahoy"], told);
    holds(result.state.usage.totalTokens > 0, result.state.usage);
  }
}

async function streamed() {
  for (const one of agents()) {
    const result = await runner.run(one, "Ahoy", { stream: true });
    let text = "";
    for await (const event of result) {
      if (event.type === "raw_model_stream_event" && event.data.type === "output_text_delta") text += event.data.delta;
    }
    await result.completed;
    equalAnswer(text, ["Ahoy"], told);
    equal(result.finalOutput, text);
  }
}

async function toolLoop() {
  for (const one of agents({ tools: [getWeather] })) {
    const result = await runner.run(one, "Use get_weather.");
    equal(result.finalOutput, "The tool said: 21 degrees in city.");
    equal(
      result.newItems.map((item) => item.type),
      ["tool_call_item", "tool_call_output_item", "message_output_item"],
    );
    const second = await runner.run(one, [...result.history, { role: "user", content: "And now?" }]);
    equalAnswer(second.finalOutput, ["Use get_weather.", "And now?"], { outputs: ["21 degrees in city"], ...told });
  }
}

async function previousId() {
  const one = agent({ tools: [getWeather] });
  const result = await runner.run(one, "Use get_weather.");
  const second = await runner.run(one, "And now?", { previousResponseId: result.lastResponseId });
  equalAnswer(second.finalOutput, ["Use get_weather.", "And now?"], { outputs: ["21 degrees in city"], ...told });
}

async function structured() {
  for (const one of agents({ outputType: z.object({ name: z.string(), age: z.number() }) })) {
    equal((await runner.run(one, "A pet")).finalOutput, { name: "name", age: 7 });
  }
}

// The whole history is stored as a conversation's items, and sent again with each run.
async function session() {
  const session = new OpenAIConversationsSession({ client });
  equalAnswer((await runner.run(agent(), "One", { session })).finalOutput, ["One"], told);
  equalAnswer((await runner.run(agent(), "Two", { session })).finalOutput, ["One", "Two"], told);
  const conversationId = await session.getSessionId();
  const same = new OpenAIConversationsSession({ client, conversationId });
  const roles = async (limit) => (await same.getItems(limit)).map((item) => item.role);
  equal(await roles(), ["user", "assistant", "user", "assistant"]);
  equal(await roles(2), ["user", "assistant"]);
  equal((await same.popItem()).role, "assistant");
  equal((await same.popItem()).role, "user");
  equalAnswer((await runner.run(agent(), "Three", { session: same })).finalOutput, ["One", "Three"], told);
  await session.clearSession();
  const error = await client.conversations.retrieve(conversationId).then(
    () => null,
    (error) => error,
  );
  holds(error instanceof NotFoundError, String(error));
}

async function sessionWithTools() {
  const session = new OpenAIConversationsSession({ client });
  const one = agent({ tools: [getWeather] });
  equal((await runner.run(one, "Use get_weather.", { session })).finalOutput, "The tool said: 21 degrees in city.");
  const second = await runner.run(one, "And now?", { session });
  equalAnswer(second.finalOutput, ["Use get_weather.", "And now?"], { outputs: ["21 degrees in city"], ...told });
  const kinds = (await session.getItems()).map((item) => item.type);
  equal(kinds, ["message", "function_call", "function_call_result", "message", "message", "message"]);
}

// The server keeps the history; each run sends what is new.
async function conversation() {
  const conversationId = (await client.conversations.create({})).id;
  equalAnswer((await runner.run(agent(), "One", { conversationId })).finalOutput, ["One"], told);
  equalAnswer((await runner.run(agent(), "Two", { conversationId })).finalOutput, ["One", "Two"], told);
  if (OVER === "demo") return;
  const result = await runner.run(agent({ tools: [getWeather] }), "Use get_weather.", { conversationId });
  equal(result.finalOutput, "The tool said: 21 degrees in city.");
}

async function errors() {
  for (const one of agents()) {
    for (const [prompt, kind] of [
      ["!429", RateLimitError],
      ["!400", BadRequestError],
    ]) {
      const error = await runner.run(one, prompt).then(
        () => null,
        (error) => error,
      );
      holds(error instanceof kind, `${prompt}: ${error}`);
    }
  }
}

const both = [plain, streamed, session, conversation];
run(...both, ...(OVER === "demo" ? [] : [toolLoop, previousId, structured, sessionWithTools, errors]));
