"""A hub id where the hub answers, refuses, is not there, or stays silent; no test leaves this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

import toykit as package
from toykit.policies import reach as module
from toykit.policies.hub import load
from toykit.policies.qwen3 import qwen3
from toykit.policies.reach import reach
from toykit.tasks import Vocab
from toykit.tasks.tokenizer import tokenizer_of

ENDPOINT = constants.ENDPOINT
VOCAB = Vocab(("<pad>", "<eos>", "one", "two"), pad=0, stop=(1,))
TINY = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Puts the hub at a port of this machine, and its cache in an empty folder."""

    def at(port: int) -> None:
        address = f"http://127.0.0.1:{port}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        path = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(ENDPOINT)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + path)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return at


@pytest.fixture
def silent():
    """(port, connections): a server that takes connections and never says a word."""
    server, taken = socket.create_server(("127.0.0.1", 0)), []

    def take() -> None:
        while True:
            try:
                taken.append(server.accept()[0])
            except OSError:
                return

    thread = threading.Thread(target=take)
    thread.start()
    yield server.getsockname()[1], taken
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()
    for connection in taken:
        connection.close()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_a_hub_that_is_not_there_is_named_with_what_can_be_done(hub):
    port = closed_port()
    hub(port)
    with pytest.raises(ValueError) as error:
        load("owner/name")
    assert str(error.value).startswith(
        f"policy could not be loaded from 'owner/name': http://127.0.0.1:{port} cannot be reached ("
    )
    assert "no copy is in" in str(error.value) and "toykit pretrain --config qwen3-1m TASK" in str(error.value)


def test_a_hub_that_stays_silent_is_asked_once(hub, silent, monkeypatch):
    port, taken = silent
    hub(port)
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    with pytest.raises(ValueError, match=r"cannot be reached \(.*timed out.*\), and no copy is in"):
        load("owner/name")
    assert len(taken) == 1


def test_what_takes_longer_than_the_limit_is_not_waited_for(hub, silent, monkeypatch):
    hub(silent[0])
    monkeypatch.setattr(module, "PATIENCE", 2.0)
    monkeypatch.setattr(module, "LIMIT", 0.2)
    with pytest.raises(ValueError, match="gave no answer in 0.2 seconds, and no copy is in"):
        reach("owner/name")


def test_the_limits_are_those_that_are_promised():
    assert module.PATIENCE < module.LIMIT < 10


class Hub(BaseHTTPRequestHandler):
    """The part of a hub's protocol that gives out files, of one model, owner/name."""

    folder: Path
    asked: list[str]

    def do_HEAD(self) -> None:
        self.asked.append(self.path)
        file = self.folder / self.path.rpartition("/")[2]
        there = self.path.startswith("/owner/name/resolve/") and file.is_file()
        body = file.read_bytes() if there else b""
        self.send_response(200 if there else 404)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", f'"{file.name}"')
        if not there:
            known = "/owner/name/" in self.path
            self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_GET = do_HEAD

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def server(tmp_path):
    """A hub with one model, on this machine."""
    handler = type("Here", (Hub,), {"folder": tmp_path / "model", "asked": []})
    qwen3(VOCAB, TINY).save_pretrained(handler.folder)
    tokenizer_of(VOCAB).save_pretrained(handler.folder)
    made = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def test_a_hub_that_lacks_the_model_is_named_and_not_asked_again(hub, server):
    hub(server.server_port)
    with pytest.raises(ValueError, match=r"http://127.0.0.1:\d+ does not give it \(.*, and no copy is in"):
        load("owner/other")
    assert server.RequestHandlerClass.asked == ["/owner/other/resolve/main/config.json"]


def test_a_model_of_a_hub_is_loaded_and_its_copy_where_the_hub_is_gone(server, tmp_path):
    """In processes of their own: where the hub and its cache are is read when its library is imported."""
    script = (
        "from toykit.policies.hub import load; model, tokenizer = load('owner/name'); "
        "print(type(model).__name__, tokenizer.encode('two one'), tokenizer.stop_tokens)"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))} | {
        "HF_HOME": str(tmp_path / "home"),
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": str(Path(package.__file__).parents[1]),
    }

    def run() -> str:
        done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    assert run() == "Qwen3ForCausalLM [3, 2] (1,)\n"
    asked = server.RequestHandlerClass.asked
    assert "/owner/name/resolve/main/config.json" in asked and any("model.safetensors" in path for path in asked)
    environment["HF_ENDPOINT"] = f"http://127.0.0.1:{closed_port()}"
    assert run() == "Qwen3ForCausalLM [3, 2] (1,)\n"
