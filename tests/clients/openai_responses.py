"""The official Python SDK: responses, plain, streamed, through the stream helper, with schemas and tools, chained."""

import json

import openai
from pydantic import BaseModel

from shared import MODEL, OVER, OTHER_KEY, equal, equal_answer, holds, raises, run

client = openai.OpenAI(max_retries=0, timeout=20)
responses = client.responses

# What a text answer consists of, from its first event to its last.
BEFORE = ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"]
AFTER = [
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]
KEYS = """id object created_at completed_at status incomplete_details model previous_response_id instructions output error
tools tool_choice truncation parallel_tool_calls text top_p presence_penalty frequency_penalty top_logprobs temperature
reasoning usage max_output_tokens max_tool_calls store background service_tier metadata safety_identifier
prompt_cache_key""".split()
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS = [{"type": "function", "name": name, "parameters": CITY, "strict": True} for name in ("get_weather", "get_time")]
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class Pet(BaseModel):
    name: str
    age: int


def ask(input, **more):
    return responses.create(model=MODEL, input=input, **more)


def output_of(call, text):
    return {"type": "function_call_output", "call_id": call.call_id, "output": text}


def plain():
    raw = responses.with_raw_response.create(
        model=MODEL,
        input="Ahoy",
        instructions="Be kind.",
        metadata={"ship": "Beagle"},
        temperature=0.5,
        max_output_tokens=500,
    )
    response = raw.parse()
    holds(response.id.startswith("resp_") and response._request_id.startswith("req_"), response)
    equal(set(KEYS) - set(json.loads(raw.http_response.text)), set(), "keys that are missing")
    equal((response.object, response.status, response.error), ("response", "completed", None))
    equal((response.model, response.instructions, response.metadata), (MODEL, "Be kind.", {"ship": "Beagle"}))
    equal((response.temperature, response.max_output_tokens, response.store), (0.5, 500, True))
    equal((response.background, response.previous_response_id, response.incomplete_details), (False, None, None))
    equal((response.tool_choice, response.tools, response.parallel_tool_calls), ("auto", [], True))
    equal((response.truncation, response.text.format.type), ("disabled", "text"))
    [item] = response.output
    holds(item.id.startswith("msg_"), item)
    equal((item.type, item.role, item.status), ("message", "assistant", "completed"))
    equal([(part.type, part.annotations) for part in item.content], [("output_text", [])])
    equal_answer(response.output_text, "Ahoy", told=["Be kind."])
    usage = response.usage
    holds(usage.input_tokens > 0 and usage.output_tokens > 0, usage)
    equal(usage.total_tokens, usage.input_tokens + usage.output_tokens)
    holds(response.created_at <= response.completed_at, response)
    equal(responses.retrieve(response.id).to_dict(), response.to_dict())
    responses.delete(response.id)
    raises(openai.NotFoundError, lambda: responses.retrieve(response.id), 404)
    raises(openai.NotFoundError, lambda: responses.delete(response.id), 404)


def streamed():
    events = list(ask("Ahoy", stream=True))
    equal([event.sequence_number for event in events], list(range(len(events))))
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    holds(deltas, events)
    equal([event.type for event in events], BEFORE + ["response.output_text.delta"] * len(deltas) + AFTER)
    text = "".join(event.delta for event in deltas)
    equal_answer(text, "Ahoy")
    created, added, part, done, last = events[0], events[2], events[3], events[-4], events[-1]
    equal((created.response.status, created.response.output), ("in_progress", []))
    equal((added.item.status, added.item.content, added.output_index), ("in_progress", [], 0))
    equal((part.part.type, part.part.text, part.content_index), ("output_text", "", 0))
    equal({event.item_id for event in [part, done, *deltas]}, {added.item.id})
    equal({(event.output_index, event.content_index) for event in [done, *deltas]}, {(0, 0)})
    equal((done.text, events[-3].part.text, events[-2].item.content[0].text), (text, text, text))
    equal((last.response.id, last.response.status), (created.response.id, "completed"))
    equal((last.response.output_text, last.response.output), (text, [events[-2].item]))
    equal(responses.retrieve(last.response.id).to_dict(), last.response.to_dict())


def stream_helper():
    with responses.stream(model=MODEL, input="Ahoy") as stream:
        types = [event.type for event in stream]
        final = stream.get_final_response()
    equal((types[0], types[-1]), ("response.created", "response.completed"))
    equal_answer(final.output_text, "Ahoy")
    equal(responses.retrieve(final.id).output_text, final.output_text)


async def asynchronous():
    async with openai.AsyncOpenAI(max_retries=0, timeout=20) as asynchronous:
        async with asynchronous.responses.stream(model=MODEL, input="Ahoy") as stream:
            deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]
            equal("".join(deltas), (await stream.get_final_response()).output_text)
        equal_answer("".join(deltas), "Ahoy")


def chained():
    first = ask("One", instructions="Be kind.")
    second = ask("Two", previous_response_id=first.id)
    third = ask("Three", previous_response_id=second.id, instructions="Be brief.")
    equal((second.previous_response_id, third.previous_response_id), (first.id, second.id))
    equal_answer(first.output_text, "One", told=["Be kind."])
    # Instructions are of one response; they are not handed on.
    equal_answer(second.output_text, "One", "Two")
    equal_answer(third.output_text, "One", "Two", "Three", told=["Be brief."])
    branch = ask("Another two", previous_response_id=first.id)
    equal_answer(branch.output_text, "One", "Another two")
    equal_answer(
        "".join(
            e.delta
            for e in ask("Four", previous_response_id=third.id, stream=True)
            if e.type == "response.output_text.delta"
        ),
        "One",
        "Two",
        "Three",
        "Four",
    )


def not_stored():
    response = ask("Ahoy", store=False)
    equal((response.status, response.store), ("completed", False))
    raises(openai.NotFoundError, lambda: responses.retrieve(response.id), 404)
    missing = {"code": "previous_response_not_found", "param": "previous_response_id"}
    raises(openai.BadRequestError, lambda: ask("And now?", previous_response_id=response.id), 400, **missing)
    final = list(ask("Ahoy", store=False, stream=True))[-1]
    equal((final.type, final.response.store), ("response.completed", False))
    raises(openai.NotFoundError, lambda: responses.retrieve(final.response.id), 404)


def inputs():
    """The shapes of input that clients send."""
    answered = ask([{"role": "user", "content": "One"}])
    equal_answer(answered.output_text, "One")
    text = [{"type": "input_text", "text": "Three"}]
    history = [
        {"role": "user", "content": "One"},
        *answered.to_dict()["output"],
        {"type": "message", "role": "user", "content": "Two"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Two it is."}]},
        {"role": "assistant", "content": "Really."},
        {"type": "message", "role": "user", "content": text},
    ]
    equal_answer(ask(history).output_text, "One", "Two", "Three", answers=3)
    reference = [{"type": "item_reference", "id": answered.output[0].id}, {"role": "user", "content": "Two"}]
    if OVER == "fake":
        equal_answer(ask(reference).output_text, "Two", answers=1)
        told = [{"role": "system", "content": "Be kind."}, {"role": "developer", "content": "Be brief."}, *history[:1]]
        equal_answer(ask(told).output_text, "One", told=["Be kind.\n\nBe brief."])
        image = [{"type": "input_text", "text": "Look"}, {"type": "input_image", "image_url": PIXEL, "detail": "auto"}]
        looked = ask([{"role": "user", "content": image}])
        equal_answer(looked.output_text, "Look", images=1)
        equal_answer(ask("Again", previous_response_id=looked.id).output_text, "Look", "Again", images=1)


def input_items():
    response = ask(
        [{"role": "user", "content": "One"}, {"role": "assistant", "content": "I."}, {"role": "user", "content": "Two"}]
    )
    items = list(responses.input_items.list(response.id, order="asc", limit=1))
    equal(
        [(item.type, item.role, item.content[0].text) for item in items],
        [("message", "user", "One"), ("message", "assistant", "I."), ("message", "user", "Two")],
    )
    equal([item.content[0].type for item in items], ["input_text", "output_text", "input_text"])
    equal([item.id for item in responses.input_items.list(response.id)], [item.id for item in items[::-1]])
    page = responses.input_items.list(response.id, order="asc", after=items[0].id, limit=1)
    equal(([item.id for item in page.data], page.has_more), ([items[1].id], True))
    raises(openai.NotFoundError, lambda: responses.input_items.list("resp_none"), 404)


def input_tokens():
    few = responses.input_tokens.count(model=MODEL, input="Ahoy")
    many = responses.input_tokens.count(model=MODEL, input="Ahoy, " * 50)
    equal((few.object, many.object), ("response.input_tokens", "response.input_tokens"))
    holds(0 < few.input_tokens < many.input_tokens - 40, (few, many))


def structured():
    parsed = responses.parse(model=MODEL, input="A pet", text_format=Pet)
    equal(parsed.output_parsed, Pet(name="name", age=7))
    equal((parsed.text.format.type, parsed.text.format.name), ("json_schema", "Pet"))
    with responses.stream(model=MODEL, input="A pet", text_format=Pet) as stream:
        equal(stream.get_final_response().output_parsed, Pet(name="name", age=7))
    text = {"format": {"type": "json_object"}}
    equal(ask("A pet as JSON", text=text).output_text, '{"prompt":"A pet as JSON"}')


def tools_with_previous_id():
    first = ask("Use get_weather.", tools=TOOLS)
    [call] = first.output
    equal(
        (call.type, call.name, call.arguments, call.status),
        ("function_call", "get_weather", '{"city":"city"}', "completed"),
    )
    holds(call.id.startswith("fc_") and call.call_id, call)
    equal([(tool.name, tool.strict) for tool in first.tools], [("get_weather", True), ("get_time", True)])
    output = output_of(call, "21 degrees")
    second = ask([output], previous_response_id=first.id, tools=TOOLS)
    equal(second.output_text, "The tool said: 21 degrees.")
    third = ask("And now?", previous_response_id=second.id)
    equal_answer(third.output_text, "Use get_weather.", "And now?", outputs=["21 degrees"])
    equal(
        [item.type for item in responses.input_items.list(second.id) if item.type == "function_call_output"],
        ["function_call_output"],
    )
    # A call that nobody answers must not be the end of a chain.
    left = ask("Never mind.", previous_response_id=first.id)
    holds(left.status == "completed" and '"Never mind."' in left.output_text, left)


def tools_with_whole_history():
    history = [{"role": "user", "content": "Use get_weather and get_time."}]
    first = ask(history, tools=TOOLS, store=False)
    equal(
        [(call.type, call.name) for call in first.output],
        [("function_call", "get_weather"), ("function_call", "get_time")],
    )
    history += first.output
    history += [output_of(call, f"{call.name} is fine") for call in first.output]
    second = ask(history, tools=TOOLS, store=False)
    equal(second.output_text, "The tools said: get_weather is fine; get_time is fine.")
    history += [*second.output, {"role": "user", "content": "And now?"}]
    third = ask(history, tools=TOOLS, store=False)
    outputs = ["get_weather is fine", "get_time is fine"]
    equal_answer(third.output_text, "Use get_weather and get_time.", "And now?", outputs=outputs)


def tool_choices():
    for choice, name in (
        ("required", "get_weather"),
        ({"type": "function", "name": "get_time"}, "get_time"),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "get_time"}]},
            "get_time",
        ),
    ):
        equal([item.name for item in ask("Hello", tools=TOOLS, tool_choice=choice).output], [name], choice)
    equal_answer(ask("Use get_time.", tools=TOOLS, tool_choice="none").output_text, "Use get_time.")


def streamed_tools():
    with responses.stream(model=MODEL, input="Use get_weather and get_time.", tools=TOOLS) as stream:
        events = list(stream)
        calls = stream.get_final_response().output
    equal(
        [(call.name, call.arguments) for call in calls],
        [("get_weather", '{"city":"city"}'), ("get_time", '{"city":"city"}')],
    )
    for index, call in enumerate(calls):
        own = [event for event in events if getattr(event, "output_index", None) == index]
        deltas = [event.delta for event in own if event.type == "response.function_call_arguments.delta"]
        done = [event for event in own if event.type == "response.function_call_arguments.done"]
        equal(("".join(deltas), [event.arguments for event in done]), (call.arguments, [call.arguments]))
        equal((own[0].type, own[-1].type), ("response.output_item.added", "response.output_item.done"))
        equal({event.item_id for event in own if hasattr(event, "item_id")}, {call.id})


def reasoning():
    response = ask("Ahoy", reasoning={"effort": "low", "summary": "auto"})
    equal([item.type for item in response.output], ["reasoning", "message"])
    thought = response.output[0]
    texts = [part.text for part in [*(thought.content or []), *thought.summary]]
    equal(texts[:1], ["Let me think."])
    equal((response.reasoning.effort, response.usage.output_tokens_details.reasoning_tokens), ("low", 3))
    equal_answer(response.output_text, "Ahoy")
    again = ask([{"role": "user", "content": "Ahoy"}, *response.output, {"role": "user", "content": "Again"}])
    equal_answer(again.output_text, "Ahoy", "Again")
    events = list(ask("!reasoning", stream=True))
    kinds = [event.item.type for event in events if event.type == "response.output_item.done"]
    equal(kinds, ["reasoning", "message"])
    equal(events[-1].response.output_text, "Done.")


def unfinished():
    """Answers that end early, or not at all."""
    for prompt, reason in (("!length", "max_output_tokens"), ("!filter", "content_filter")):
        response = ask(prompt)
        equal((response.status, response.incomplete_details.reason), ("incomplete", reason))
        equal(response.output_text, "These are some words that come before the fault.")
        last = list(ask(prompt, stream=True))[-1]
        equal((last.type, last.response.incomplete_details.reason), ("response.incomplete", reason))
    refusal = ask("!refusal").output[0].content[0]
    equal((refusal.type, refusal.refusal), ("refusal", "I cannot help with that."))
    events = list(ask("!refusal", stream=True))
    said = "".join(event.delta for event in events if event.type == "response.refusal.delta")
    equal((said, events[-1].response.output[0].content[0].refusal), (refusal.refusal, refusal.refusal))
    for fault in ("!fin", "!error", "!badjson"):
        last = list(ask(fault, stream=True))[-1]
        equal((last.type, last.response.status), ("response.failed", "failed"))
        holds(last.response.error.code and last.response.error.message, last)
        holds("canary" not in last.response.error.message, last)
        equal(responses.retrieve(last.response.id).to_dict(), last.response.to_dict())


def others_see_nothing():
    response = ask("Ahoy")
    other = client.with_options(api_key=OTHER_KEY).responses
    raises(openai.NotFoundError, lambda: other.retrieve(response.id), 404)
    raises(openai.NotFoundError, lambda: other.delete(response.id), 404)
    raises(openai.NotFoundError, lambda: other.input_items.list(response.id), 404)
    missing = {"code": "previous_response_not_found", "param": "previous_response_id"}
    more = {"model": MODEL, "input": "And now?", "previous_response_id": response.id}
    raises(openai.BadRequestError, lambda: other.create(**more), 400, **missing)


both = [plain, streamed, stream_helper, asynchronous, chained, not_stored, inputs, input_items, input_tokens]
fake = [structured, tools_with_previous_id, tools_with_whole_history, tool_choices, streamed_tools, reasoning]
fake += [unfinished, others_see_nothing]
run(*both, *([] if OVER == "demo" else fake))
