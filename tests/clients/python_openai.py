"""The official Python SDK as an application uses it. Started by tests/it/v1/python.rs with `fake` or `demo`."""

import sys

import openai

OVER = sys.argv[1]
MODEL = "demo" if OVER == "demo" else "gpt-4o"
client = openai.OpenAI(max_retries=0, timeout=20)


def messages(text):
    return [{"role": "system", "content": "Be kind."}, {"role": "user", "content": text}]


def plain():
    completion = client.chat.completions.create(model=MODEL, messages=messages("Ahoy"))
    choice = completion.choices[0]
    assert choice.message.role == "assistant" and choice.message.content, completion
    assert choice.finish_reason == "stop" and choice.message.refusal is None, completion
    assert completion.usage.total_tokens > 0 and completion._request_id.startswith("req_"), completion


def streamed():
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=messages("Ahoy"), stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[0].choices[0].delta.role == "assistant", chunks[0]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices), chunks
    assert chunks[-1].usage.total_tokens > 0 and not chunks[-1].choices, chunks[-1]


def stream_helper():
    with client.chat.completions.stream(model=MODEL, messages=messages("Ahoy")) as stream:
        events = [event.type for event in stream]
        final = stream.get_final_completion()
    assert "content.delta" in events and "content.done" in events, events
    assert final.choices[0].finish_reason == "stop", final


def raw_response():
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=messages("Ahoy"))
    assert raw.headers["x-request-id"].startswith("req_") and raw.status_code == 200, raw.headers
    assert raw.parse().object == "chat.completion"
    with client.chat.completions.with_streaming_response.create(model=MODEL, messages=messages("Ahoy")) as raw:
        assert raw.read()


def models():
    found = [model.id for model in client.models.list()]
    assert found, found
    assert client.models.retrieve(found[0]).object == "model"
    expect(openai.NotFoundError, lambda: client.models.retrieve("no/such model"), "model_not_found")


def expect(kind, work, code):
    try:
        work()
    except openai.APIError as error:
        assert type(error) is kind, f"{type(error)} is not {kind}: {error}"
        assert error.code == code, f"{error.code} is not {code}"
        assert "canary" not in str(error) and "canary" not in str(error.body), error
        assert getattr(error, "request_id", "req_").startswith("req_"), error.request_id
        return error
    raise AssertionError(f"no {kind} with {code}")


def ask(text, **more):
    return lambda: list(client.chat.completions.create(model=MODEL, messages=messages(text), **more))


def errors():
    wrong = client.with_options(api_key="not-a-key-of-this-server")
    call = {"model": MODEL, "messages": messages("Ahoy")}
    expect(openai.AuthenticationError, lambda: wrong.chat.completions.create(**call), "invalid_api_key")
    for more in ({}, {"stream": True}):
        expect(openai.RateLimitError, ask("!429", **more), "rate_limit_exceeded")
        expect(openai.RateLimitError, ask("!quota", **more), "insufficient_quota")
        expect(openai.BadRequestError, ask("!400", **more), "context_length_exceeded")
        expect(openai.NotFoundError, ask("!404", **more), "model_not_found")
        expect(openai.InternalServerError, ask("!401-leak", **more), "upstream_refused_key")
        expect(openai.InternalServerError, ask("!500", **more), "upstream_unavailable")
    expect(openai.BadRequestError, ask("Ahoy", max_tokens=10_000_000), "integer_above_max_value")


def mended():
    for fault in ("!norole", "!nodone", "!split", "!chars", "!ping"):
        with client.chat.completions.stream(model=MODEL, messages=messages(fault)) as stream:
            for _ in stream:
                pass
            assert stream.get_final_completion().choices[0].message.content, fault
    for fault, code in (("!fin", "upstream_cut"), ("!error", "upstream_unavailable"), ("!badjson", "upstream_garbage")):
        expect(openai.APIError, ask(fault, stream=True), code)


def retried():
    patient = client.with_options(max_retries=1)
    raw = patient.chat.completions.with_raw_response
    error = expect(openai.RateLimitError, lambda: raw.create(model=MODEL, messages=messages("!429-ms")), "rate_limit_exceeded")
    assert error.response.request.headers["x-stainless-retry-count"] == "1", "retry-after-ms is obeyed"
    error = expect(openai.RateLimitError, lambda: raw.create(model=MODEL, messages=messages("!quota")), "insufficient_quota")
    assert error.response.request.headers["x-stainless-retry-count"] == "0", "what is hopeless is not tried again"


def passed():
    embeddings = client.embeddings.create(model="text-embedding-3-small", input="Ahoy")
    assert embeddings.data[0].embedding, embeddings


def without():
    expect(openai.NotFoundError, lambda: client.embeddings.create(model="any", input="Ahoy"), "upstream_refused")


steps = [plain, streamed, stream_helper, raw_response, models]
steps += [errors, mended, retried, passed] if OVER == "fake" else [without]
for step in steps:
    step()
    print(f"{step.__name__} ok", flush=True)
