"""A real server with OpenAI's chat protocol, over whatever answers; it can be told to fail.

with lvlm_server(demo_model()) as server:
    server.faults = {1: Fault.BUSY, 4: Fault.CUT}
    … server.url …
"""

import base64
import hashlib
import io
import json
import math
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from demo.stack.settings import REPO
from lae_tasks.backends.protocols import Image, Reply
from lae_tasks.backends.remote import RemoteClassifier
from lae_tasks.config import ClassifyConfig
from lae_tasks.config_file import load_config
from lae_tasks.naming.prompt_template import PromptTemplate

#: What a server that is busy asks to wait.
RETRY_AFTER_S = 1


class Fault(Enum):
    BUSY = auto()
    ERROR = auto()
    CUT = auto()
    SLOW = auto()
    PAGE = auto()
    NO_CHOICES = auto()
    RESET = auto()


@dataclass(frozen=True)
class HttpError:
    """An answer that is none."""

    status: int
    body: Mapping[str, Any] | str
    headers: Mapping[str, str] | None = None


Answer = Reply | HttpError | dict[str, Any]
#: What is said of a crop, given the request's body.
Speaker = Callable[[Image, dict[str, Any]], Answer]


@dataclass(frozen=True)
class Asked:
    number: int
    digest: str
    fault: Fault | None
    body: dict[str, Any]
    headers: Mapping[str, str]


def digest_of_crop(crop: Image) -> str:
    return hashlib.sha256(str(crop.shape).encode() + crop.tobytes()).hexdigest()


class LvlmServer:
    """What it was asked, and how it shall fail.

    Attributes:
        faults: By the number of the request, from 0.
        slow_s: How long it takes where it is slow.
        asked: Every request, in the order in which they came.
        answered: How often each crop was answered well.
    """

    def __init__(self, speaker: Speaker) -> None:
        self.speaker = speaker
        self.slow_s = 4.0
        self.faults: dict[int, Fault] = {}
        self.asked: list[Asked] = []
        self.answered: Counter[str] = Counter()
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(), False)
        self._http.request_queue_size = 256
        self._http.daemon_threads = True
        self._http.server_bind()
        self._http.server_activate()
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _handler(server: "LvlmServer") -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                listed = {"object": "list", "data": [{"id": "demo", "object": "model"}]}
                self._send(200, json.dumps(listed).encode())

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path != "/v1/chat/completions":
                    self._send(404, b'{"detail":"Not Found"}')
                    return
                server._answer(self, body)

            def _send(
                self, status: int, body: bytes, headers: Mapping[str, str] | None = None
            ) -> None:
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                self.wfile.flush()

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def _answer(self, handler: Any, body: dict[str, Any]) -> None:
        picture = body["messages"][0]["content"][0]["image_url"]
        data = base64.b64decode(picture.pop("url").partition(",")[2])
        with PillowImage.open(io.BytesIO(data)) as image:
            crop = np.asarray(image.convert("RGB"))
        digest = digest_of_crop(crop)
        with self._lock:
            number = len(self.asked)
            fault = self.faults.get(number)
            self.asked.append(Asked(number, digest, fault, body, dict(handler.headers)))
        try:
            if fault is not None:
                self._fail(handler, fault)
                return
            with self._counted():
                answer = self.speaker(crop, body)
            if isinstance(answer, HttpError):
                text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
                handler._send(answer.status, text.encode(), answer.headers)
                return
            said = completion(answer, body) if isinstance(answer, Reply) else answer
            with self._lock:
                self.answered[digest] += 1
            handler._send(200, json.dumps(said).encode())
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client was killed
        except Exception as error:
            handler._send(418, f"the test's own error: {error!r}".encode())  # not tried again

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            yield
        finally:
            with self._lock:
                self.at_once -= 1

    def _fail(self, handler: Any, fault: Fault) -> None:
        if fault is Fault.BUSY:
            body = b'{"error": {"message": "too many requests"}}'
            handler._send(429, body, {"Retry-After": str(RETRY_AFTER_S)})
        elif fault is Fault.ERROR:
            handler._send(500, b"Internal Server Error")
        elif fault is Fault.CUT:
            handler.wfile.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                b'Content-Length: 1000\r\n\r\n{"choices": [{"mess'
            )
            handler.wfile.flush()
            handler.close_connection = True
        elif fault is Fault.SLOW:
            time.sleep(self.slow_s)
            handler.close_connection = True
        elif fault is Fault.PAGE:
            handler._send(200, b"<html>Bad gateway</html>")
        elif fault is Fault.NO_CHOICES:
            handler._send(200, b'{"id": "x", "object": "chat.completion", "choices": []}')
        else:
            # Closed with nothing lingering: the client sees a reset.
            linger = struct.pack("ii", 1, 0)
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            handler.close_connection = True
            handler.connection.close()
            handler.wfile = io.BytesIO()


def completion(reply: Reply, body: Mapping[str, Any]) -> dict[str, Any]:
    """A reply as OpenAI would write it."""
    texts = [reply.text[a:b] for a, b in pairwise((0, *reply.token_ends))]
    pairs = zip(texts, reply.token_probabilities, strict=True)
    content = [
        {"token": text, "logprob": math.log(max(p, 1e-30)), "bytes": list(text.encode())}
        for text, p in pairs
    ]
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": reply.text},
        "logprobs": {"content": content} if body.get("logprobs") else None,
    }
    n = body.get("n", 1)
    usage = {"prompt_tokens": 100, "completion_tokens": 10 * n, "total_tokens": 100 + 10 * n}
    return {"object": "chat.completion", "choices": [choice] * n, "usage": usage}


@contextmanager
def lvlm_server(speaker: Speaker) -> Iterator[LvlmServer]:
    """A server for as long as it is needed, on a free port of 127.0.0.1."""
    server = LvlmServer(speaker)
    try:
        yield server
    finally:
        server.close()


def demo_model() -> Speaker:
    """The demo's model, one crop at a time."""
    from lae_tasks.backends.lvlm import LocalClassifier

    config = load_config(REPO / "demo" / "lae.yaml").classify
    classifier = LocalClassifier(config, threads=1)
    lock = threading.Lock()

    def speak(crop: Image, body: dict[str, Any]) -> Reply:
        template = PromptTemplate(body["messages"][0]["content"][1]["text"])
        with lock:
            return next(classifier.reply([crop], template))

    return speak


def some_crops(n: int, side: int = 8) -> list[Image]:
    """Different ones, all about of one size."""
    random = np.random.default_rng(7)
    return [random.integers(0, 256, (side, side + i % 3, 3), dtype=np.uint8) for i in range(n)]


def by_digest(crop: Image, _body: dict[str, Any]) -> Reply:
    """A reply that tells which crop was asked about."""
    text = f'"{digest_of_crop(crop)[:8]}" with likelihood 0.9'
    return Reply(text, (1, 9, len(text)), (1.0, 0.5, 0.25))


def expected(images: list[Image]) -> list[str]:
    """What `by_digest` says of them."""
    return [by_digest(crop, {}).text for crop in images]


def remote_namer(server: LvlmServer, alternatives: int = 0, **changed: Any) -> RemoteClassifier:
    """A namer that asks the server, with other settings of `classify.remote` if need be."""
    settings = {"base_url": server.url, "max_in_flight": 8, "timeout_s": 2.0} | changed
    config = {"namer": "remote", "model": "demo", "alternatives": alternatives, "remote": settings}
    return RemoteClassifier(ClassifyConfig.model_validate(config))
