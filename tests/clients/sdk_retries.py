"""The official Python SDK loses the answer to each first try (tests/it/clients/cutter.rs), and tries again by itself.

Prints `calls N`: how many calls it made, each of which may have become one turn only.
"""

import os

import openai

from shared import MODEL, equal, equal_answer, eventually, holds, run

client = openai.OpenAI(max_retries=2, timeout=20)
# The same server, with nobody in between.
direct = openai.OpenAI(base_url=os.environ["DIRECT_BASE_URL"], max_retries=0, timeout=20)


def create(**more):
    raw = client.responses.with_raw_response.create(model=MODEL, **more)
    equal(raw.http_request.headers["x-stainless-retry-count"], "1")
    return raw.parse()


def told_once(response, *prompts):
    equal_answer(response.output_text, *prompts)
    equal(direct.responses.retrieve(response.id).to_dict(), response.to_dict())


def plain():
    told_once(create(input="Plain"), "Plain")
    print("calls 1")


def chained():
    first = create(input="One")
    second = create(input="Two", previous_response_id=first.id)
    told_once(second, "One", "Two")
    print("calls 2")


def streamed():
    events = list(create(input="Streamed", stream=True))
    equal([event.sequence_number for event in events], list(range(len(events))))
    equal((events[0].type, events[-1].type), ("response.created", "response.completed"))
    told_once(events[-1].response, "Streamed")
    print("calls 1")


def in_a_conversation():
    conversation = direct.conversations.create().id
    told_once(create(input="One", conversation=conversation), "One")
    events = list(create(input="Two", conversation=conversation, stream=True))
    told_once(events[-1].response, "One", "Two")
    kept = list(direct.conversations.items.list(conversation, order="asc"))
    equal([item.role for item in kept], ["user", "assistant"] * 2)
    print("calls 2")


def background():
    response = create(input="Background", background=True)
    ended = lambda: (got := direct.responses.retrieve(response.id)).status == "completed" and got
    told_once(eventually("it ends", ended), "Background")
    print("calls 1")


def while_it_runs():
    """This one loses its connection at once: the second try finds the first still being answered."""
    told = "These are some words that come before the fault."
    equal(create(input="!slow").output_text, told)
    equal("".join(e.delta for e in create(input="!slow", stream=True) if e.type == "response.output_text.delta"), told)
    print("calls 2")


def the_same_twice():
    """Two that are meant to be two stay two."""
    first, second = create(input="Same"), create(input="Same")
    holds(first.id != second.id, (first.id, second.id))
    told_once(first, "Same")
    told_once(second, "Same")
    print("calls 2")


run(plain, chained, streamed, in_a_conversation, background, while_it_runs, the_same_twice)
