"""llm-comply's checks of the Open Responses specification and of chat completions: all pass, none with a warning."""

import json
import pathlib
import subprocess
import sys

from shared import BASE_URL, KEY, MODEL, OVER, equal, run

# What takes a model that calls tools, which the demo does not, or one that reasons, by its name.
TOOLS = ["tool-calling", "chat-tool-calling"]
REASONING = ["reasoning-summary", "chat-reasoning-summary"]
# It holds a request without a model to be wrong; here it is one for DEFAULT_MODEL.
NO_MODEL = {
    "chat-error-handling": ("failed", ["HTTP 200 (expected [400, 422])"], None),
    "error-handling": ("failed", ["HTTP 200 (expected [400, 422])"], None),
    "compact-missing-model": ("failed", ["HTTP 200 (expected [400, 404, 422])"], None),
}


def complies(format, checks):
    command = [pathlib.Path(sys.executable).with_name("llm-comply"), "--format", format, "--json", "--timeout", "20"]
    command += ["--base-url", BASE_URL, "--api-key", KEY, "--model", MODEL]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    results = json.loads(ended.stdout)["results"]
    equal(len(results), checks, "a newer llm-comply checks something else")
    wrong = {
        result["id"]: (result["status"], result.get("errors"), result.get("warnings"))
        for result in results
        if result["status"] != "passed" or result.get("warnings")
    }
    expected = {"failed": TOOLS, "skipped": REASONING} if OVER == "demo" else {}
    excused = {id for id, (status, *_) in wrong.items() if id in expected.get(status, [])}
    wrong = {id: seen for id, seen in wrong.items() if id not in excused}
    equal(wrong, {id: seen for id, seen in NO_MODEL.items() if id in wrong})


def open_responses():
    complies("open-responses", 13)


def openai_chat():
    complies("openai-chat", 9)


run(open_responses, openai_chat)
