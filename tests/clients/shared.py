"""What the Python scripts share: where the server is, what the model behind it says, comparisons, a line a check.

OPENAI_BASE_URL and OPENAI_API_KEY say where to go, as for any application. OVER is `fake` (crates/fake-openai with its
assistant), `demo` or `real` (scripts/real-model). Words after the script's name run only the checks of these names.
"""

import asyncio
import inspect
import os
import sys
import threading
import time
import traceback
import uuid

BASE_URL = os.environ["OPENAI_BASE_URL"]
KEY = os.environ["OPENAI_API_KEY"]
OTHER_KEY = os.environ.get("OTHER_API_KEY", "")
OVER = os.environ.get("OVER", "fake")
MODEL = {"demo": "demo", "real": "smollm2-135m-instruct"}.get(OVER, "gpt-5-mini")
# Longer than anything here takes, in seconds.
SOON = 20


def equal(got, expected, what=""):
    if got != expected:
        raise AssertionError(f"{what}\n       got {got!r}\n  expected {expected!r}")


def holds(condition, seen):
    if not condition:
        raise AssertionError(repr(seen))


def answer(*prompts, answers=None, told=(), outputs=(), images=0):
    """What the fake's assistant says, having been shown these prompts and having given so many answers between them."""
    answers = len(prompts) - 1 if answers is None else answers
    quoted = [f'"{prompt}"' for prompt in prompts]
    text = f"Answer {answers + 1} to {quoted[-1]}"
    if quoted[:-1]:
        text += f", after {', '.join(quoted[:-1])}"
    text += "."
    for verb, texts in (("Told", told), ("Tools said", outputs)):
        if texts:
            text += f" {verb} " + ", ".join(f'"{said}"' for said in texts) + "."
    if images:
        text += f" With {images} image{'s' if images > 1 else ''}."
    return text


def demo_answer(*prompts):
    """How the demo's answer begins, having been shown these prompts."""
    memory = "This is the first thing you have said to me."
    if prompts[:-1]:
        memory = (
            f'This is turn {len(prompts)} that I can see. Before this you said "{prompts[-2]}", '
            f'and it all began with "{prompts[0]}".'
        )
    return f'[demo] You said: "{prompts[-1]}". {memory} '


def equal_answer(text, *prompts, **shown):
    """Compares an answer with what the model behind the server must have said."""
    if OVER == "demo":
        expected = demo_answer(*prompts)
        equal(text[: len(expected)], expected)
        holds(text.endswith(" restart to talk to a real one."), text)
    else:
        equal(text, answer(*prompts, **shown))


def raises(kind, work, status=None, **fields):
    """The error of exactly this class that `work` ends with, its status and fields compared."""
    try:
        got = work()
        if hasattr(got, "__next__") or hasattr(got, "response"):
            got = list(got)
    except kind as error:
        equal(type(error), kind, str(error))
        if status is not None:
            equal(error.status_code, status, str(error))
        equal({name: getattr(error, name) for name in fields}, fields, str(error))
        holds(getattr(error, "request_id", "req_").startswith("req_"), vars(error))
        holds("canary" not in str(error) and "canary" not in str(getattr(error, "body", "")), error)
        return error
    raise AssertionError(f"no {kind.__name__}, but {got!r}")


def eventually(what, look):
    """Waits until `look` gives something true; returns it."""
    deadline = time.monotonic() + SOON
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"never came true: {what}")
        time.sleep(0.02)
    return seen


def unique(word):
    """A name that no other check uses."""
    return f"{word}-{uuid.uuid4().hex[:12]}"


def meanwhile(work):
    """Runs `work` in a thread; the function returned waits for its result, or raises its error."""
    result = {}

    def run():
        try:
            result["value"] = work()
        except BaseException as error:
            result["error"] = error

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def join():
        thread.join(SOON)
        holds(not thread.is_alive(), "the thread still runs")
        if "error" in result:
            raise result["error"]
        return result["value"]

    return join


def run(*checks):
    """Runs the checks, all of them; the script fails when one has."""
    wanted = sys.argv[1:]
    failed = []
    for check in checks:
        if wanted and check.__name__ not in wanted:
            continue
        began = time.monotonic()
        try:
            if inspect.iscoroutinefunction(check):
                asyncio.run(check())
            else:
                check()
        except Exception:
            failed.append(check.__name__)
            print(f"FAILED {check.__name__}\n{traceback.format_exc()}", flush=True)
        else:
            print(f"ok {check.__name__} ({time.monotonic() - began:.2f} s)", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")
