"""The official Python SDK: conversations, their items and pages, and responses that continue them."""

import openai

from shared import MODEL, OTHER_KEY, OVER, equal, equal_answer, holds, meanwhile, raises, run, unique

client = openai.OpenAI(max_retries=0, timeout=20)
conversations, items, responses = client.conversations, client.conversations.items, client.responses


def ask(input, **more):
    return responses.create(model=MODEL, input=input, **more)


def message(text, role="user"):
    return {"type": "message", "role": role, "content": text}


def text_of(item):
    return "".join(part.text for part in item.content)


def texts(id, **query):
    return [(item.role, text_of(item)) for item in items.list(id, **{"order": "asc", **query})]


def crud():
    created = conversations.create(metadata={"topic": "ships"})
    holds(created.id.startswith("conv_") and created.created_at > 1_700_000_000, created)
    equal((created.object, created.metadata), ("conversation", {"topic": "ships"}))
    equal(conversations.retrieve(created.id).to_dict(), created.to_dict())
    updated = conversations.update(created.id, metadata={"topic": "boats"})
    equal((updated.id, updated.metadata), (created.id, {"topic": "boats"}))
    equal(conversations.retrieve(created.id).metadata, {"topic": "boats"})
    gone = conversations.delete(created.id)
    equal((gone.id, gone.deleted, gone.object), (created.id, True, "conversation.deleted"))
    for work in (conversations.retrieve, conversations.delete, items.list):
        raises(openai.NotFoundError, lambda: work(created.id), 404, type="invalid_request_error")
    raises(openai.NotFoundError, lambda: conversations.update(created.id, metadata={}), 404)
    equal(conversations.create().metadata or {}, {})
    begun = conversations.create(items=[message("One"), message("Two", "developer")])
    equal(texts(begun.id), [("user", "One"), ("developer", "Two")])


def item_crud():
    id = conversations.create(items=[]).id
    equal(list(items.list(id)), [])
    added = items.create(id, items=[message("One"), message("I.", "assistant")])
    equal((added.object, added.has_more, len(added.data)), ("list", False, 2))
    first, second = added.data
    equal((added.first_id, added.last_id), (first.id, second.id))
    holds(first.id.startswith("msg_") and first.id != second.id, added)
    equal(
        [(i.type, i.role, i.status, i.content[0].type) for i in added.data],
        [("message", "user", "completed", "input_text"), ("message", "assistant", "completed", "output_text")],
    )
    equal(items.retrieve(first.id, conversation_id=id).to_dict(), first.to_dict())
    left = items.delete(first.id, conversation_id=id)
    equal((left.id, left.object), (id, "conversation"))
    equal(texts(id), [("assistant", "I.")])
    raises(openai.NotFoundError, lambda: items.retrieve(first.id, conversation_id=id), 404)
    raises(openai.NotFoundError, lambda: items.delete(first.id, conversation_id=id), 404)
    raises(openai.BadRequestError, lambda: items.create(id, items=[message("x")] * 21), 400)
    equal(texts(id), [("assistant", "I.")])


def kinds_of_items():
    """What a tool loop leaves behind, stored as plain items and given back as it was."""
    call = {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": '{"city":"Oslo"}'}
    output = {"type": "function_call_output", "call_id": "call_1", "output": "21 degrees"}
    answered = message([{"type": "output_text", "text": "Fine.", "annotations": []}], "assistant")
    begun = conversations.create(items=[message("Use get_weather."), call, output, answered])
    got = list(items.list(begun.id, order="asc"))
    equal([item.type for item in got], ["message", "function_call", "function_call_output", "message"])
    equal({key: getattr(got[1], key) for key in call}, call)
    equal({key: getattr(got[2], key) for key in output}, output)
    equal((got[1].status, got[2].status), ("completed", "completed"))
    equal(len({item.id for item in got}), 4)
    if OVER == "fake":
        response = ask("And now?", conversation=begun.id)
        equal_answer(response.output_text, "Use get_weather.", "And now?", outputs=["21 degrees"])


def pages():
    id = conversations.create(items=[message(f"Number {n}") for n in range(5)]).id
    everything = [f"Number {n}" for n in range(5)]
    equal([text for _, text in texts(id, limit=1)], everything)
    equal([text for _, text in texts(id, limit=2)], everything)
    equal([text for _, text in texts(id, limit=2, order="desc")], everything[::-1])
    equal([text_of(item) for item in items.list(id)], everything[::-1], "newest first is the default")
    page = items.list(id, order="asc", limit=2)
    equal(([text_of(i) for i in page.data], page.has_more, page.last_id), (everything[:2], True, page.data[1].id))
    page = items.list(id, order="asc", limit=3, after=page.last_id)
    equal(([text_of(item) for item in page.data], page.has_more), (everything[2:], False))
    equal(items.list(id, order="asc", after=page.last_id).data, [])
    raises(openai.BadRequestError, lambda: items.list(id, limit=101), 400, param="limit")


def continued():
    id = conversations.create().id
    first = ask("One", conversation=id)
    equal(first.conversation.id, id)
    second = ask("Two", conversation={"id": id}, instructions="Be kind.")
    equal_answer(first.output_text, "One")
    equal_answer(second.output_text, "One", "Two", told=["Be kind."])
    last = list(ask("Three", conversation=id, stream=True))[-1].response
    equal_answer(last.output_text, "One", "Two", "Three")
    said = [("One", first), ("Two", second), ("Three", last)]
    both = [pair for text, response in said for pair in (("user", text), ("assistant", response.output_text))]
    equal(texts(id), both)
    equal([item.id for item in items.list(id, order="asc")][1::2], [r.output[0].id for _, r in said])
    # What is deleted is not shown to the model any more, and what is added is.
    for item in list(items.list(id, order="asc"))[:2]:
        items.delete(item.id, conversation_id=id)
    items.create(id, items=[message("Two and a half")])
    prompts = ["Two", "Three", "Two and a half", "Four"]
    answers = {} if OVER == "demo" else {"answers": 2}
    equal_answer(ask("Four", conversation=id).output_text, *prompts, **answers)
    raises(openai.BadRequestError, lambda: ask("x", conversation=id, previous_response_id=first.id), 400)
    raises(openai.NotFoundError, lambda: ask("x", conversation="conv_none"), 404)


def listed():
    """Beyond OpenAI: the conversations of a key, newest first."""
    ids = [conversations.create(metadata={"n": str(n)}).id for n in range(3)][::-1]
    page = client.get("/conversations?limit=2", cast_to=object)
    equal(([entry["id"] for entry in page["data"]], page["has_more"]), (ids[:2], True))
    equal((page["object"], page["data"][0]["metadata"]), ("list", {"n": "2"}))
    more = client.get(f"/conversations?limit=1&after={ids[1]}", cast_to=object)
    equal([entry["id"] for entry in more["data"]], ids[2:])


def tools():
    id = conversations.create().id
    city = {"type": "object", "properties": {"city": {"type": "string"}}}
    more = {"conversation": id, "tools": [{"type": "function", "name": "get_weather", "parameters": city}]}
    [call] = ask("Use get_weather.", **more).output
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "21 degrees"}
    equal(ask([output], **more).output_text, "The tool said: 21 degrees.")
    equal(
        [item.type for item in items.list(id, order="asc")],
        ["message", "function_call", "function_call_output", "message"],
    )
    # A call that nobody answers must not be the end of a conversation.
    ask("Use get_weather.", **more)
    response = ask("Never mind.", conversation=id)
    holds(response.status == "completed" and '"Never mind."' in response.output_text, response)


def busy():
    """Two at once on one conversation: refused in a form that the SDK tries again by itself."""
    id, name = conversations.create().id, unique("busy")
    stream = ask(f"!wait {name}", conversation=id, stream=True)
    next(event for event in stream if event.type == "response.output_text.delta")
    raises(openai.ConflictError, lambda: ask("Two", conversation=id), 409, code="conversation_locked")
    patient = client.with_options(max_retries=8).responses.with_raw_response
    join = meanwhile(lambda: patient.create(model=MODEL, input="Three", conversation=id))
    client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": f"!open {name}"}])
    whole = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
    holds("after it." in whole, whole)
    equal_answer(join().parse().output_text, f"!wait {name}", "Three")
    equal([role for role, _ in texts(id)], ["user", "assistant"] * 2)


def others_see_nothing():
    created = conversations.create(items=[message("One")])
    [item] = items.list(created.id)
    other = client.with_options(api_key=OTHER_KEY)
    for work in (
        lambda: other.conversations.retrieve(created.id),
        lambda: other.conversations.update(created.id, metadata={"a": "b"}),
        lambda: other.conversations.delete(created.id),
        lambda: other.conversations.items.list(created.id),
        lambda: other.conversations.items.create(created.id, items=[message("Mine")]),
        lambda: other.conversations.items.retrieve(item.id, conversation_id=created.id),
        lambda: other.conversations.items.delete(item.id, conversation_id=created.id),
        lambda: other.responses.create(model=MODEL, input="x", conversation=created.id),
    ):
        raises(openai.NotFoundError, work, 404, type="invalid_request_error")
    equal(texts(created.id), [("user", "One")])


both = [crud, item_crud, kinds_of_items, pages, continued, listed]
run(*both, *([] if OVER == "demo" else [tools, busy, others_see_nothing]))
