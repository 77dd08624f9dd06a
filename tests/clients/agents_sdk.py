"""The OpenAI Agents SDK in Python: over both APIs, with tools, hand-offs, and sessions kept as conversations."""

import openai
from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIConversationsSession,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from pydantic import BaseModel

from shared import MODEL, OVER, equal, equal_answer, holds, run

set_tracing_disabled(True)


class Pet(BaseModel):
    name: str
    age: int


@function_tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"21 degrees in {city}"


class Client:
    """An SDK client of this event loop, and agents over both APIs."""

    async def __aenter__(self):
        self.openai = await openai.AsyncOpenAI(max_retries=0, timeout=20).__aenter__()
        return self

    async def __aexit__(self, *error):
        await self.openai.close()

    def agent(self, kind=OpenAIResponsesModel, **more):
        return Agent(name="Assistant", instructions="Be kind.", model=kind(MODEL, self.openai), **more)

    def agents(self, **more):
        return [self.agent(kind, **more) for kind in (OpenAIResponsesModel, OpenAIChatCompletionsModel)]


TOLD = {"told": ["Be kind."]}


async def plain():
    async with Client() as client:
        for agent in client.agents():
            result = await Runner.run(agent, "Ahoy")
            equal_answer(result.final_output, "Ahoy", **TOLD)
            holds(result.context_wrapper.usage.total_tokens > 0, result.context_wrapper.usage)


async def streamed():
    async with Client() as client:
        for agent in client.agents():
            result = Runner.run_streamed(agent, "Ahoy")
            text = ""
            async for event in result.stream_events():
                if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                    text += event.data.delta
            equal_answer(text, "Ahoy", **TOLD)
            equal(result.final_output, text)


async def tool_loop():
    async with Client() as client:
        for agent in client.agents(tools=[get_weather]):
            result = await Runner.run(agent, "Use get_weather.")
            equal(result.final_output, "The tool said: 21 degrees in city.")
            kinds = [item.type for item in result.new_items]
            equal(kinds, ["tool_call_item", "tool_call_output_item", "message_output_item"])
            again = result.to_input_list() + [{"role": "user", "content": "And now?"}]
            second = await Runner.run(agent, again)
            shown = {"outputs": ["21 degrees in city"], **TOLD}
            equal_answer(second.final_output, "Use get_weather.", "And now?", **shown)


async def previous_id():
    async with Client() as client:
        agent = client.agent(tools=[get_weather])
        result = await Runner.run(agent, "Use get_weather.", auto_previous_response_id=True)
        equal(result.final_output, "The tool said: 21 degrees in city.")
        second = await Runner.run(agent, "And now?", previous_response_id=result.last_response_id)
        shown = {"outputs": ["21 degrees in city"], **TOLD}
        equal_answer(second.final_output, "Use get_weather.", "And now?", **shown)


async def structured():
    async with Client() as client:
        for agent in client.agents(output_type=Pet):
            equal((await Runner.run(agent, "A pet")).final_output, Pet(name="name", age=7))


async def handoff():
    async with Client() as client:
        other = client.agent()
        other.name, other.instructions = "Expert", "Be precise."
        agent = client.agent(handoffs=[other])
        result = await Runner.run(agent, "Please transfer_to_expert.")
        equal((result.last_agent.name, result.final_output), ("Expert", 'The tool said: {"assistant": "Expert"}.'))


async def session():
    """The whole history is stored as a conversation's items, and sent again with each run."""
    async with Client() as client:
        session = OpenAIConversationsSession(openai_client=client.openai)
        agent = client.agent()
        equal_answer((await Runner.run(agent, "One", session=session)).final_output, "One", **TOLD)
        equal_answer((await Runner.run(agent, "Two", session=session)).final_output, "One", "Two", **TOLD)
        streamed = Runner.run_streamed(agent, "Three", session=session)
        async for _ in streamed.stream_events():
            pass
        equal_answer(streamed.final_output, "One", "Two", "Three", **TOLD)

        # Another process finds it by its id, and goes on.
        same = OpenAIConversationsSession(conversation_id=session.session_id, openai_client=client.openai)
        items = await same.get_items()
        equal([item["role"] for item in items], ["user", "assistant"] * 3)
        equal([item["role"] for item in await same.get_items(limit=2)], ["user", "assistant"])
        popped = await same.pop_item()
        equal((popped["role"], popped["id"]), ("assistant", items[-1]["id"]))
        equal(len(await session.get_items()), 5)
        await same.pop_item()
        equal_answer((await Runner.run(agent, "Four", session=same)).final_output, "One", "Two", "Four", **TOLD)
        await session.add_items([{"role": "user", "content": f"Number {n}"} for n in range(25)])
        equal(len(await same.get_items()), 6 + 25)
        conversation = session.session_id
        await session.clear_session()
        try:
            await client.openai.conversations.retrieve(conversation)
        except openai.NotFoundError:
            return
        raise AssertionError("a cleared session is still there")


async def session_with_tools():
    async with Client() as client:
        session = OpenAIConversationsSession(openai_client=client.openai)
        agent = client.agent(tools=[get_weather])
        result = await Runner.run(agent, "Use get_weather.", session=session)
        equal(result.final_output, "The tool said: 21 degrees in city.")
        shown = {"outputs": ["21 degrees in city"], **TOLD}
        second = await Runner.run(agent, "And now?", session=session)
        equal_answer(second.final_output, "Use get_weather.", "And now?", **shown)
        kinds = [item["type"] for item in await session.get_items()]
        equal(kinds, ["message", "function_call", "function_call_output", "message", "message", "message"])


async def conversation():
    """The server keeps the history; each run sends what is new."""
    async with Client() as client:
        id = (await client.openai.conversations.create()).id
        agent = client.agent()
        equal_answer((await Runner.run(agent, "One", conversation_id=id)).final_output, "One", **TOLD)
        equal_answer((await Runner.run(agent, "Two", conversation_id=id)).final_output, "One", "Two", **TOLD)
        if OVER == "fake":
            agent.tools = [get_weather]
            result = await Runner.run(agent, "Use get_weather.", conversation_id=id)
            equal(result.final_output, "The tool said: 21 degrees in city.")


async def errors():
    async with Client() as client:
        for agent in client.agents():
            for prompt, kind in (("!429", openai.RateLimitError), ("!400", openai.BadRequestError)):
                try:
                    await Runner.run(agent, prompt)
                except kind:
                    continue
                raise AssertionError(f"no {kind} for {prompt}")


both = [plain, streamed, session, conversation]
run(*both, *([] if OVER == "demo" else [tool_loop, previous_id, structured, handoff, session_with_tools, errors]))
