"""The official Python SDK: responses that run on, are cancelled and resumed; errors, retries, WebSocket."""

import openai

from shared import MODEL, OVER, equal, equal_answer, eventually, holds, meanwhile, raises, run, unique

client = openai.OpenAI(max_retries=0, timeout=20)
responses = client.responses

BEFORE, WHOLE = "These words come before the gate.", "These words come before the gate. These come after it."


def ask(input, **more):
    return responses.create(model=MODEL, input=input, **more)


def open_gate(name):
    """Lets the answers to `!wait name` go on."""
    said = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": f"!open {name}"}])
    equal(said.choices[0].message.content, f"Opened {name}.")


def ended(id):
    return eventually(
        "it ends", lambda: (got := responses.retrieve(id)).status not in ("queued", "in_progress") and got
    )


def text_of(events):
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


def read_until_gate(stream):
    """The events of a stream up to the words before the gate."""
    events = []
    for event in stream:
        events.append(event)
        if text_of(events) == BEFORE:
            return events
    raise AssertionError(f"no gate in {events}")


def background():
    response = ask("Ahoy", background=True)
    holds(response.status in ("queued", "in_progress") and response.background, response)
    equal(response.output, [])
    response = ended(response.id)
    equal((response.status, response.background, response.store), ("completed", True, True))
    equal_answer(response.output_text, "Ahoy")
    equal_answer(ask("Again", previous_response_id=response.id).output_text, "Ahoy", "Again")


def background_waits():
    name = unique("background")
    response = ask(f"!wait {name}", background=True)
    eventually("it runs", lambda: responses.retrieve(response.id).status == "in_progress")
    open_gate(name)
    equal(ended(response.id).output_text, WHOLE)
    raises(openai.BadRequestError, lambda: ask("Ahoy", background=True, store=False), 400)


def background_stream():
    name = unique("background-stream")
    stream = ask(f"!wait {name}", background=True, stream=True)
    begun = read_until_gate(stream)
    holds({event.type for event in begun[:3]} >= {"response.created", "response.in_progress"}, begun)
    stream.close()
    open_gate(name)
    rest = list(responses.retrieve(begun[0].response.id, stream=True, starting_after=begun[-1].sequence_number))
    equal([event.sequence_number for event in begun + rest], list(range(len(begun + rest))))
    equal((text_of(begun + rest), rest[-1].type), (WHOLE, "response.completed"))


def cancel():
    response = ask("!hang-middle", background=True)
    eventually("it runs", lambda: responses.retrieve(response.id).status == "in_progress")
    cancelled = responses.cancel(response.id)
    equal((cancelled.id, cancelled.status), (response.id, "cancelled"))
    equal(ended(response.id).status, "cancelled")
    equal(responses.cancel(response.id).status, "cancelled")
    raises(openai.NotFoundError, lambda: responses.cancel("resp_none"), 404)


def cancel_of_a_stream():
    stream = ask("!hang-middle", background=True, stream=True)
    events = []
    for event in stream:
        events.append(event)
        if event.type == "response.output_text.delta" and event.delta.endswith("fault."):
            responses.cancel(events[0].response.id)
    # OpenAI has no event for it; whatever the stream's last one is, the response says what happened.
    kept = ended(events[0].response.id)
    equal((kept.status, kept.output_text), ("cancelled", "These are some words that come before the fault."))


def resume_after_a_cut():
    """A stored response goes on when its client leaves, also in the foreground."""
    name = unique("resume")
    stream = ask(f"!wait {name}", stream=True)
    begun = read_until_gate(stream)
    id, last = begun[0].response.id, begun[-1].sequence_number
    stream.close()
    resumed = responses.retrieve(id, stream=True, starting_after=last)
    join = meanwhile(lambda: list(resumed))
    open_gate(name)
    rest = join()
    equal([event.sequence_number for event in rest], list(range(last + 1, last + 1 + len(rest))))
    equal((text_of(begun + rest), rest[-1].type), (WHOLE, "response.completed"))
    whole = [event.to_dict() for event in responses.retrieve(id, stream=True)]
    equal([event.to_dict() for event in begun + rest], whole)
    for after in range(len(whole)):
        again = responses.retrieve(id, stream=True, starting_after=after)
        equal([event.to_dict() for event in again], whole[after + 1 :], after)
    equal(responses.retrieve(id).to_dict(), whole[-1]["response"])


def resume_of_what_has_ended():
    whole = list(ask("Ahoy", stream=True))
    id = whole[0].response.id
    equal([e.to_dict() for e in responses.retrieve(id, stream=True)], [e.to_dict() for e in whole])
    rest = responses.retrieve(id, stream=True, starting_after=3)
    equal([e.to_dict() for e in rest], [e.to_dict() for e in whole[4:]])
    with responses.stream(response_id=id, starting_after=0) as stream:
        equal([event.type for event in stream], [event.type for event in whole[1:]])
    plain = ask("Ahoy")
    equal(list(responses.retrieve(plain.id, stream=True))[-1].response.to_dict(), plain.to_dict())
    raises(openai.NotFoundError, lambda: responses.retrieve("resp_none", stream=True), 404)


def errors():
    wrong = client.with_options(api_key="not-a-key-of-this-server").responses
    call = {"model": MODEL, "input": "Ahoy"}
    raises(openai.AuthenticationError, lambda: wrong.create(**call), 401, code="invalid_api_key")
    for more in ({}, {"stream": True}):
        work = lambda prompt: lambda: ask(prompt, **more)
        raises(openai.RateLimitError, work("!429"), 429, code="rate_limit_exceeded")
        raises(openai.RateLimitError, work("!quota"), 429, code="insufficient_quota")
        raises(openai.BadRequestError, work("!400"), 400, code="context_length_exceeded")
        raises(openai.NotFoundError, work("!404"), 404, code="model_not_found")
        raises(openai.InternalServerError, work("!401-leak"), 502, code="upstream_refused_key")
        raises(openai.InternalServerError, work("!500"), 502, code="upstream_unavailable")
    raises(openai.NotFoundError, lambda: responses.retrieve("resp_none"), 404, type="invalid_request_error")
    raises(openai.NotFoundError, lambda: responses.delete("resp_none"), 404, type="invalid_request_error")


def bad_parameters():
    refused = lambda param, **more: raises(
        openai.BadRequestError, lambda: responses.create(**more), 400, param=param, type="invalid_request_error"
    )
    call = {"model": MODEL, "input": "Ahoy"}
    refused("temperature", **call, temperature=3)
    refused("max_output_tokens", **call, max_output_tokens=0)
    # A cap is what the client takes at most, not what it needs.
    equal(responses.create(**call, max_output_tokens=10_000_000).status, "completed")
    refused("metadata", **call, metadata={f"key{n}": "x" for n in range(17)})
    demanded = {"tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}}
    error = raises(openai.BadRequestError, lambda: ask("Ahoy", **demanded), 400)
    holds(error.param.startswith("tool"), error.body)
    refused("top_p", **call, top_p=3)
    refused("input", model=MODEL, input=7)
    refused("text.format.schema", **call, text={"format": {"type": "json_schema", "name": "x"}})
    error = raises(openai.BadRequestError, lambda: ask([{"type": "message"}]), 400)
    holds(error.param.startswith("input"), error.body)
    missing = {"code": "previous_response_not_found", "param": "previous_response_id"}
    raises(openai.BadRequestError, lambda: ask("Ahoy", previous_response_id="resp_none"), 400, **missing)


def retried():
    patient = client.with_options(max_retries=2).responses.with_raw_response
    create = lambda text, **more: patient.create(model=MODEL, input=text, **more)
    tries = lambda error: error.response.request.headers["x-stainless-retry-count"]
    for more in ({}, {"stream": True}):
        error = raises(openai.RateLimitError, lambda: create("!429-ms", **more), 429, code="rate_limit_exceeded")
        equal(tries(error), "2", "retry-after-ms is obeyed")
        error = raises(openai.RateLimitError, lambda: create("!quota", **more), 429, code="insufficient_quota")
        equal(tries(error), "0", "what is hopeless is not tried again")
    name = unique("once")
    raw = create(f"!once {name} 503")
    equal(raw.http_request.headers["x-stainless-retry-count"], "1")
    equal(raw.parse().output_text, f"Well, {name}.")


def websocket():
    with responses.connect() as connection:

        def turn(input, **more):
            connection.response.create(model=MODEL, input=input, **more)
            events = []
            while not events or events[-1].type not in ("response.completed", "response.failed", "error"):
                events.append(connection.recv())
            return events

        first = turn("One", store=False)
        equal((first[0].type, first[-1].type), ("response.created", "response.completed"))
        equal_answer(first[-1].response.output_text, "One")
        equal(text_of(first), first[-1].response.output_text)
        # What is not stored lives as long as the connection.
        second = turn("Two", store=False, previous_response_id=first[-1].response.id)[-1].response
        equal_answer(second.output_text, "One", "Two")
        stored = turn("Three")[-1].response
        fourth = turn("Four", previous_response_id=stored.id)[-1].response
        equal_answer(fourth.output_text, "Three", "Four")
        error = turn("And?", previous_response_id="resp_none")[-1].to_dict()
        equal((error["type"], error["status"], error["error"]["code"]), ("error", 400, "previous_response_not_found"))
        equal_answer(turn("Five")[-1].response.output_text, "Five")
    equal(responses.retrieve(fourth.id).output_text, fourth.output_text)
    raises(openai.NotFoundError, lambda: responses.retrieve(second.id), 404)


def compact():
    history = [{"role": "user", "content": "One"}, {"role": "assistant", "content": "I."}]
    compacted = responses.compact(model=MODEL, input=history)
    holds(compacted.id.startswith("resp_") and compacted.output, compacted)
    equal(compacted.object, "response.compaction")
    holds(compacted.usage.total_tokens > 0, compacted)
    after = ask([*[item.to_dict() for item in compacted.output], {"role": "user", "content": "Two"}])
    holds(after.status == "completed" and '"Two"' in after.output_text, after)


both = [background, resume_of_what_has_ended, bad_parameters, websocket]
fake = [background_waits, background_stream, cancel, cancel_of_a_stream, resume_after_a_cut, errors, retried, compact]
run(*both, *([] if OVER == "demo" else fake))
