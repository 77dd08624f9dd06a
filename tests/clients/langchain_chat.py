"""LangChain's ChatOpenAI: over chat completions and over responses, plain, streamed, with schemas, tools and state."""

import openai
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

from shared import MODEL, OVER, equal, equal_answer, holds, run

COMMON = {"model": MODEL, "max_retries": 0, "timeout": 20}
chat = ChatOpenAI(**COMMON, stream_usage=True)
responses = ChatOpenAI(**COMMON, use_responses_api=True)
chained = ChatOpenAI(**COMMON, use_responses_api=True, use_previous_response_id=True)
every = [chat, responses, chained]
ASKED = [SystemMessage("Be kind."), HumanMessage("Ahoy")]


class Pet(BaseModel):
    """A pet."""

    name: str
    age: int


@tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"21 degrees in {city}"


def invoked():
    for model in every:
        message = model.invoke(ASKED)
        equal_answer(message.text, "Ahoy", told=["Be kind."])
        usage = message.usage_metadata
        holds(usage["input_tokens"] > 0 and usage["output_tokens"] > 0, usage)
        equal(usage["total_tokens"], usage["input_tokens"] + usage["output_tokens"])
        holds(model is chat or message.response_metadata["id"].startswith("resp_"), message)


def streamed():
    for model in every:
        chunks = list(model.stream(ASKED))
        holds([chunk for chunk in chunks if chunk.text], chunks)
        whole = chunks[0]
        for chunk in chunks[1:]:
            whole += chunk
        equal_answer(whole.text, "Ahoy", told=["Be kind."])
        holds(whole.usage_metadata["output_tokens"] > 0, whole)


async def asynchronous():
    for model in every:
        equal_answer((await model.ainvoke(ASKED)).text, "Ahoy", told=["Be kind."])
        equal_answer("".join([chunk.text async for chunk in model.astream(ASKED)]), "Ahoy", told=["Be kind."])


def history():
    for model in every:
        said = [HumanMessage("One")]
        said += [model.invoke(said), HumanMessage("Two")]
        said += [model.invoke(said), HumanMessage("Three")]
        equal_answer(model.invoke(said).text, "One", "Two", "Three")


def structured():
    for model in every:
        for method in ("json_schema", "function_calling"):
            equal(model.with_structured_output(Pet, method=method).invoke("Pet"), Pet(name="name", age=7))


def tool_loop():
    for model in every:
        bound = model.bind_tools([get_weather])
        said = [HumanMessage("Use get_weather.")]
        for _ in range(2):
            said.append(bound.invoke(said) if model is not chat else merged(bound.stream(said)))
            calls = said[-1].tool_calls
            for call in calls:
                equal((call["name"], call["args"]), ("get_weather", {"city": "city"}))
                said.append(get_weather.invoke(call))
        equal([type(message) for message in said[2:3]], [ToolMessage])
        equal(said[-1].text, "The tool said: 21 degrees in city.")
        said.append(HumanMessage("And now?"))
        equal_answer(bound.invoke(said).text, "Use get_weather.", "And now?", outputs=["21 degrees in city"])


def merged(chunks):
    whole = next(chunks)
    for chunk in chunks:
        whole += chunk
    return whole


def errors():
    for model in every:
        for prompt, kind, code in (
            ("!429", openai.RateLimitError, "rate_limit_exceeded"),
            ("!400", openai.BadRequestError, "context_length_exceeded"),
            ("!404", openai.NotFoundError, "model_not_found"),
            ("!500", openai.InternalServerError, "upstream_unavailable"),
        ):
            try:
                model.invoke(prompt)
            except kind as error:
                equal(error.code, code)
            else:
                raise AssertionError(f"no {kind} for {prompt}")


def embeddings():
    # Without the check it sends text instead of tokens, as for any server but OpenAI's own.
    model = OpenAIEmbeddings(model="text-embedding-3-small", check_embedding_ctx_length=False)
    equal([round(x, 4) for x in model.embed_query("Ahoy")][:2], [0.5, 0.3333])


both = [invoked, streamed, asynchronous, history]
run(*both, *([] if OVER == "demo" else [structured, tool_loop, errors, embeddings]))
