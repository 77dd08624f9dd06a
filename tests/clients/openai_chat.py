"""The official Python SDK: chat completions, plain, streamed, stored, with tools and schemas; models; errors."""

import openai
from openai import pydantic_function_tool
from pydantic import BaseModel

from shared import MODEL, OVER, OTHER_KEY, equal, equal_answer, holds, raises, run, unique

client = openai.OpenAI(max_retries=0, timeout=20)
completions = client.chat.completions


class Pet(BaseModel):
    name: str
    age: int


class get_weather(BaseModel):
    city: str


def messages(text):
    return [{"role": "system", "content": "Be kind."}, {"role": "user", "content": text}]


def equal_said(completion, text):
    choice = completion.choices[0]
    equal((choice.message.role, choice.finish_reason, choice.message.refusal), ("assistant", "stop", None))
    equal_answer(choice.message.content, text, told=["Be kind."])


def plain():
    completion = completions.create(model=MODEL, messages=messages("Ahoy"))
    equal((completion.object, completion.model, len(completion.choices)), ("chat.completion", MODEL, 1))
    equal_said(completion, "Ahoy")
    usage = completion.usage
    holds(usage.prompt_tokens > 0 and usage.completion_tokens > 0, usage)
    equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)
    holds(completion._request_id.startswith("req_"), completion)


def streamed():
    options = {"include_usage": True}
    chunks = list(completions.create(model=MODEL, messages=messages("Ahoy"), stream=True, stream_options=options))
    equal(chunks[0].choices[0].delta.role, "assistant")
    equal_answer("".join(c.choices[0].delta.content or "" for c in chunks if c.choices), "Ahoy", told=["Be kind."])
    equal([c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason], ["stop"])
    equal(len({chunk.id for chunk in chunks}), 1)
    holds(chunks[-1].usage.total_tokens > 0 and not chunks[-1].choices, chunks[-1])


def stream_helper():
    with completions.stream(model=MODEL, messages=messages("Ahoy")) as stream:
        events = [event.type for event in stream]
        final = stream.get_final_completion()
    holds("content.delta" in events and "content.done" in events, events)
    equal_said(final, "Ahoy")


def raw_response():
    raw = completions.with_raw_response.create(model=MODEL, messages=messages("Ahoy"))
    holds(raw.headers["x-request-id"].startswith("req_") and raw.status_code == 200, raw.headers)
    equal_said(raw.parse(), "Ahoy")
    with completions.with_streaming_response.create(model=MODEL, messages=messages("Ahoy")) as raw:
        holds(b'"chat.completion"' in raw.read(), raw)


async def asynchronous():
    async with openai.AsyncOpenAI(max_retries=0, timeout=20) as asynchronous:
        equal_said(await asynchronous.chat.completions.create(model=MODEL, messages=messages("Ahoy")), "Ahoy")


def models():
    found = [model.id for model in client.models.list()]
    holds(MODEL in found, found)
    equal((client.models.retrieve(MODEL).object, client.models.retrieve(MODEL).id), ("model", MODEL))
    raises(openai.NotFoundError, lambda: client.models.retrieve("no/such model"), code="model_not_found")


def structured():
    parsed = completions.parse(model=MODEL, messages=messages("A pet"), response_format=Pet)
    equal(parsed.choices[0].message.parsed, Pet(name="name", age=7))
    with completions.stream(model=MODEL, messages=messages("A pet"), response_format=Pet) as stream:
        equal(stream.get_final_completion().choices[0].message.parsed, Pet(name="name", age=7))
    completion = completions.create(model=MODEL, messages=messages("A pet"), response_format={"type": "json_object"})
    equal(completion.choices[0].message.content, '{"prompt":"A pet"}')


def tool_loop():
    tools = [pydantic_function_tool(get_weather)]
    asked = messages("Use get_weather.")
    first = completions.parse(model=MODEL, messages=asked, tools=tools).choices[0]
    equal((first.finish_reason, len(first.message.tool_calls)), ("tool_calls", 1))
    call = first.message.tool_calls[0]
    equal((call.function.name, call.function.parsed_arguments), ("get_weather", get_weather(city="city")))
    output = {"role": "tool", "tool_call_id": call.id, "content": "21 degrees"}
    second = completions.create(model=MODEL, messages=[*asked, first.message, output], tools=tools).choices[0]
    equal((second.finish_reason, second.message.content), ("stop", "The tool said: 21 degrees."))
    with completions.stream(model=MODEL, messages=asked, tools=tools) as stream:
        call = stream.get_final_completion().choices[0].message.tool_calls[0]
    equal((call.function.name, call.function.arguments), ("get_weather", '{"city":"city"}'))


def stored():
    mark = unique("mark")
    kept = [
        completions.create(model=MODEL, messages=messages(text), store=True, metadata={"mark": mark})
        for text in ("One", "Two", "Three")
    ]
    for completion, text in zip(kept, ("One", "Two", "Three")):
        equal_said(completion, text)
        found = completions.retrieve(completion.id)
        equal((found.id, found.choices[0].message.content), (completion.id, completion.choices[0].message.content))
        equal((found.metadata, found.usage.total_tokens), ({"mark": mark}, completion.usage.total_tokens))
    ids = [completion.id for completion in kept]
    equal([c.id for c in completions.list(metadata={"mark": mark}, limit=2, order="asc")], ids)
    equal([c.id for c in completions.list(metadata={"mark": mark}, order="desc")], ids[::-1])
    page = completions.list(metadata={"mark": mark}, limit=2, order="asc")
    equal(([c.id for c in page.data], page.has_more), (ids[:2], True))
    said = list(completions.messages.list(ids[0], limit=1, order="asc"))
    equal([(m.role, m.content) for m in said], [("system", "Be kind."), ("user", "One")])
    holds(len({message.id for message in said}) == 2, said)
    equal(completions.update(ids[0], metadata={"mark": "another"}).metadata, {"mark": "another"})
    equal(completions.retrieve(ids[0]).metadata, {"mark": "another"})
    equal([c.id for c in completions.list(metadata={"mark": mark}, order="asc")], ids[1:])
    for id in ids:
        gone = completions.delete(id)
        equal((gone.id, gone.deleted, gone.object), (id, True, "chat.completion.deleted"))
        raises(openai.NotFoundError, lambda: completions.retrieve(id), 404)
    raises(openai.NotFoundError, lambda: completions.delete(ids[0]), 404)
    raises(openai.NotFoundError, lambda: completions.messages.list(ids[0]), 404)


def stored_stream():
    chunks = list(completions.create(model=MODEL, messages=messages("Ahoy"), stream=True, store=True))
    equal_said(completions.retrieve(chunks[0].id), "Ahoy")
    completions.delete(chunks[0].id)
    completion = completions.create(model=MODEL, messages=messages("Ahoy"))
    raises(openai.NotFoundError, lambda: completions.retrieve(completion.id), 404)


def others_see_nothing():
    completion = completions.create(model=MODEL, messages=messages("Ahoy"), store=True)
    other = client.with_options(api_key=OTHER_KEY).chat.completions
    raises(openai.NotFoundError, lambda: other.retrieve(completion.id), 404)
    raises(openai.NotFoundError, lambda: other.delete(completion.id), 404)
    equal(list(other.list()), [])
    completions.delete(completion.id)


def ask(text, **more):
    return lambda: list(completions.create(model=MODEL, messages=messages(text), **more))


def errors():
    wrong = client.with_options(api_key="not-a-key-of-this-server")
    call = {"model": MODEL, "messages": messages("Ahoy")}
    raises(openai.AuthenticationError, lambda: wrong.chat.completions.create(**call), 401, code="invalid_api_key")
    for more in ({}, {"stream": True}):
        raises(openai.RateLimitError, ask("!429", **more), 429, code="rate_limit_exceeded")
        raises(openai.RateLimitError, ask("!quota", **more), 429, code="insufficient_quota")
        raises(openai.BadRequestError, ask("!400", **more), 400, code="context_length_exceeded")
        raises(openai.NotFoundError, ask("!404", **more), 404, code="model_not_found")
        raises(openai.InternalServerError, ask("!401-leak", **more), 502, code="upstream_refused_key")
        raises(openai.InternalServerError, ask("!500", **more), 502, code="upstream_unavailable")
    raises(openai.BadRequestError, ask("Ahoy", max_tokens=-1), 400, code="invalid_type")


def mended():
    for fault, said in (
        ("!norole", "👌 ok"),
        ("!nodone", "These are some words that come before the fault."),
        ("!split", "é 👌 ok"),
        ("!chars", "These are some words that come before the fault."),
        ("!ping", "These are some words that come before the fault. And these come after it."),
    ):
        with completions.stream(model=MODEL, messages=messages(fault)) as stream:
            equal(stream.get_final_completion().choices[0].message.content, said, fault)
    for fault, code in (("!fin", "upstream_cut"), ("!error", "upstream_unavailable"), ("!badjson", "upstream_garbage")):
        raises(openai.APIError, ask(fault, stream=True), code=code)


def retried():
    patient = client.with_options(max_retries=2)
    tries = lambda error: error.response.request.headers["x-stainless-retry-count"]
    create = lambda text: patient.chat.completions.with_raw_response.create(model=MODEL, messages=messages(text))
    error = raises(openai.RateLimitError, lambda: create("!429-ms"), 429, code="rate_limit_exceeded")
    equal(tries(error), "2", "retry-after-ms is obeyed")
    error = raises(openai.RateLimitError, lambda: create("!quota"), 429, code="insufficient_quota")
    equal(tries(error), "0", "what is hopeless is not tried again")
    name = unique("once")
    raw = create(f"!once {name} 503")
    equal(raw.http_request.headers["x-stainless-retry-count"], "1", "and what passes is")
    equal(raw.parse().choices[0].message.content, f"Well, {name}.")


def embeddings():
    found = client.embeddings.create(model="text-embedding-3-small", input=["Ahoy", "there"], dimensions=3)
    equal([[round(x, 4) for x in item.embedding] for item in found.data], [[0.5, 0.3333, 0.25]] * 2)


def no_embeddings():
    raises(
        openai.NotFoundError, lambda: client.embeddings.create(model="any", input="Ahoy"), 404, code="upstream_refused"
    )


both = [plain, streamed, stream_helper, raw_response, asynchronous, models, stored, stored_stream]
fake = [structured, tool_loop, others_see_nothing, errors, mended, retried, embeddings]
run(*both, *([no_embeddings] if OVER == "demo" else fake))
