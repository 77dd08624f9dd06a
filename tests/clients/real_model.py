"""The official Python SDK over a real, small model: what it says is silly, how it says it must be right."""

from typing import Literal

import openai
from pydantic import BaseModel

from shared import MODEL, equal, eventually, holds, run

client = openai.OpenAI(max_retries=0, timeout=60)
completions, responses, conversations = client.chat.completions, client.responses, client.conversations


class Pet(BaseModel):
    kind: Literal["cat", "dog"]
    alive: bool


def messages(text):
    return [{"role": "user", "content": text}]


def ask(input, **more):
    return responses.create(model=MODEL, input=input, max_output_tokens=24, **more)


def is_whole(response):
    holds(response.status in ("completed", "incomplete"), response)
    holds(response.output_text.strip(), response)
    usage = response.usage
    holds(0 < usage.output_tokens <= 24 and usage.input_tokens > 0, usage)
    equal(usage.total_tokens, usage.input_tokens + usage.output_tokens)
    return response


def text_of(events):
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


def chat():
    completion = completions.create(model=MODEL, messages=messages("Hello, who are you?"), max_tokens=16)
    choice = completion.choices[0]
    holds(choice.message.content.strip() and choice.finish_reason in ("stop", "length"), completion)
    holds(0 < completion.usage.completion_tokens <= 16, completion.usage)
    asked = {"model": MODEL, "messages": messages("Hello, who are you?"), "stream_options": {"include_usage": True}}
    chunks = list(completions.create(**asked, max_tokens=16, stream=True))
    equal(chunks[0].choices[0].delta.role, "assistant")
    holds("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices).strip(), chunks)
    holds(0 < chunks[-1].usage.completion_tokens <= 16, chunks[-1])


def chat_without_its_first_chunk():
    """The server of this model never sends the role where the first token is half a character."""
    more = {"messages": messages("Ahoy"), "extra_body": {"grammar": 'root ::= "👌 ok"'}}
    with completions.stream(model=MODEL, **more) as stream:
        equal(stream.get_final_completion().choices[0].message.content, "👌 ok")


def plain_and_chained():
    first = is_whole(ask("Hello, what is your name?", instructions="You are a pirate."))
    equal(responses.retrieve(first.id).to_dict(), first.to_dict())
    second = is_whole(ask("And where do you live?", previous_response_id=first.id))
    # The model counts itself what it was shown.
    holds(second.usage.input_tokens > first.usage.output_tokens + 15, (first.usage, second.usage))
    equal([item.role for item in responses.input_items.list(first.id)], ["user"])


def streamed():
    events = list(ask("Tell me a story.", stream=True))
    equal([event.sequence_number for event in events], list(range(len(events))))
    holds(len([event for event in events if event.type == "response.output_text.delta"]) > 3, events)
    final = is_whole(events[-1].response)
    equal((text_of(events), responses.retrieve(final.id).output_text), (final.output_text, final.output_text))
    rest = responses.retrieve(final.id, stream=True, starting_after=4)
    equal([event.to_dict() for event in rest], [event.to_dict() for event in events[5:]])


def structured():
    parsed = responses.parse(model=MODEL, input="A pet, as JSON.", text_format=Pet, max_output_tokens=64)
    holds(isinstance(parsed.output_parsed, Pet), parsed)
    # The helper knows no end but this one, which a schema brings about.
    with responses.stream(model=MODEL, input="A pet, as JSON.", text_format=Pet, max_output_tokens=64) as stream:
        said = text_of(stream)
        final = stream.get_final_response()
    equal((final.status, final.output_text), ("completed", said))
    holds(isinstance(final.output_parsed, Pet), final)


def conversation():
    id = conversations.create(items=[{"type": "message", "role": "user", "content": "My name is Ada."}]).id
    first = is_whole(ask("What is my name?", conversation=id))
    second = is_whole(list(ask("And yours?", conversation=id, stream=True))[-1].response)
    kept = list(conversations.items.list(id, order="asc"))
    equal([item.role for item in kept], ["user", "user", "assistant", "user", "assistant"])
    equal([kept[2].content[0].text, kept[4].content[0].text], [first.output_text, second.output_text])
    conversations.delete(id)


def background():
    response = ask("Tell me a story.", background=True)
    ended = lambda: (got := responses.retrieve(response.id)).status not in ("queued", "in_progress") and got
    is_whole(eventually("it ends", ended))
    long = responses.create(model=MODEL, input="Count to a thousand.", background=True)
    holds(responses.cancel(long.id).status in ("cancelled", "completed", "incomplete"), long)


run(
    chat,
    chat_without_its_first_chunk,
    plain_and_chained,
    streamed,
    structured,
    conversation,
    background,
)
