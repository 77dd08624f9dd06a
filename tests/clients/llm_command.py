"""The `llm` command line: over chat completions and responses, with memory, tools and schemas; the models."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

from click.testing import CliRunner

from shared import BASE_URL, KEY, MODEL, OVER, equal, equal_answer, holds, run

home = tempfile.TemporaryDirectory()
ENVIRONMENT = {"LLM_USER_PATH": home.name}
# Where it is read when the command is loaded.
os.environ.update(ENVIRONMENT)
pathlib.Path(home.name, "extra-openai-models.yaml").write_text(
    "".join(
        f"- model_id: {name}\n  model_name: {MODEL}\n  api_base: {BASE_URL}\n  responses: {over_responses}\n"
        "  supports_schema: true\n  supports_tools: true\n  api_key_name: here\n"
        for name, over_responses in (("chat", "false"), ("responses", "true"))
    )
)
from llm.cli import cli  # noqa: E402

EVERY = ["chat", "responses"]
TOOL = 'def get_weather(city: str) -> str:\n    "The weather of a city"\n    return f"21 degrees in {city}"'


def llm(*words, succeeds=True):
    """Runs the command inside this process: starting it takes a second each time."""
    ended = CliRunner().invoke(cli, [*words, "--key", KEY], env=ENVIRONMENT)
    equal(ended.exit_code == 0, succeeds, f"{ended.output}{ended.exception}")
    return ended.stdout.strip() if succeeds else ended.stderr


def started():
    """The command itself, once."""
    command = [pathlib.Path(sys.executable).with_name("llm"), "-m", "responses", "Ahoy", "--key", KEY]
    environment = {"PATH": os.environ["PATH"], "HOME": home.name, **ENVIRONMENT}
    ended = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    equal(ended.returncode, 0, ended.stderr)
    equal_answer(ended.stdout.strip(), "Ahoy")


def prompted():
    for model in EVERY:
        for more in ([], ["--no-stream"]):
            equal_answer(llm("-m", model, "-s", "Be kind.", "Ahoy", *more), "Ahoy", told=["Be kind."])


def continued():
    for model in EVERY:
        equal_answer(llm("-m", model, "One"), "One")
        equal_answer(llm("-c", "Two"), "One", "Two")
        equal_answer(llm("-c", "Three"), "One", "Two", "Three")


def endpoint():
    for more in ([], ["--responses"]):
        equal_answer(llm("openai", "endpoint", BASE_URL, "Ahoy", "-m", MODEL, *more), "Ahoy")
    holds(MODEL in llm("openai", "endpoint", BASE_URL, "--models").split(), MODEL)


def tools():
    for model in EVERY:
        said = llm("-m", model, "--functions", TOOL, "Use get_weather.")
        equal(said, "The tool said: 21 degrees in city.")
        shown = {"outputs": ["21 degrees in city"]}
        equal_answer(llm("-c", "And now?"), "Use get_weather.", "And now?", **shown)


def schemas():
    for model in EVERY:
        equal(json.loads(llm("-m", model, "--schema", "name, age int", "A pet")), {"name": "name", "age": 7})


def errors():
    for model in EVERY:
        holds("longer than the model takes" in llm("-m", model, "!400", succeeds=False), model)


run(started, prompted, continued, endpoint, *([] if OVER == "demo" else [tools, schemas, errors]))
