"""Naming by a server of fixed latency: many requests in flight, against one at a time.

    python -m benchmarks.remote_naming [--crops N] [--in-flight N] [--latency SECONDS]

The server, a process of its own on 127.0.0.1, takes LATENCY for each request, however many there
are. So the ideal is IN_FLIGHT / LATENCY crops per second. It prints what our namer reaches of it
with its journal on a local folder; how much faster that is than the loop of the paper's scripts,
which asks about a crop when the one before is answered (measured on fewer crops); and the CPU
time of a crop. Both must give the replies that the server makes of the crops.
"""

import argparse
import asyncio
import base64
import hashlib
import json
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import httpx
import numpy as np
from rich.console import Console

from demo.scenes import generate_scene
from lae_tasks.backends.chat import question
from lae_tasks.backends.protocols import Image, Reply
from lae_tasks.backends.remote import RemoteClassifier
from lae_tasks.config import ClassifyConfig, RemoteConfig
from lae_tasks.naming.journal import Journal
from lae_tasks.naming.prompt_template import load_template
from lae_tasks.stages.tile import encode_png
from lae_tasks.storage import LocalStorage

SIDES_PX = (32, 64, 96, 128, 192, 256, 384)
SEQUENTIAL_CROPS = 20
TARGET = 0.9
TEMPLATE = load_template("lae_paper")
out = Console(highlight=False, soft_wrap=True)


def said_of(png: bytes) -> str:
    """What the server says of a picture."""
    return f'"thing {hashlib.sha256(png).hexdigest()[:12]}" with likelihood 0.9'


def serve(latency_s: float, told: Connection) -> None:
    """Runs the server, and tells its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                due = asyncio.get_running_loop().time() + latency_s
                (length,) = (
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                )
                body = json.loads(await reader.readexactly(length))
                url = body["messages"][0]["content"][0]["image_url"]["url"]
                text = said_of(base64.b64decode(url.partition(",")[2]))
                content = [{"token": text, "logprob": -0.1, "bytes": list(text.encode())}]
                choice = {"message": {"content": text}, "logprobs": {"content": content}}
                usage = {"prompt_tokens": 300, "completion_tokens": 12}
                said = json.dumps({"choices": [choice], "usage": usage}).encode()
                await asyncio.sleep(due - asyncio.get_running_loop().time())
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
                writer.write(b"Content-Length: %d\r\n\r\n" % len(said) + said)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionResetError):
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=1 << 24, backlog=512)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def some_crops(count: int) -> list[Image]:
    """Different crops of a synthetic scene, of several sizes."""
    scene = generate_scene(1_000_000, 1024).image
    random = np.random.default_rng(0)
    crops = []
    for number in range(count):
        side = SIDES_PX[number % len(SIDES_PX)]
        x, y = random.integers(0, 1024 - side, 2)
        crops.append(scene[y : y + side, x : x + side])
    return crops


def one_at_a_time(crops: Sequence[Image], config: ClassifyConfig, remote: RemoteConfig) -> float:
    """Crops per second of a loop that waits for each reply."""
    started = time.perf_counter()
    with httpx.Client(timeout=60) as http:
        for crop in crops:
            body = question(crop, TEMPLATE, config, remote)
            answer = http.post(f"{remote.base_url}/chat/completions", json=body).json()
            if answer["choices"][0]["message"]["content"] != said_of(encode_png(crop)):
                raise SystemExit("the loop's replies differ")
    return len(crops) / (time.perf_counter() - started)


def ours(crops: Sequence[Image], config: ClassifyConfig) -> tuple[float, float]:
    """Crops per second of our namer, and CPU seconds per crop."""
    namer = RemoteClassifier(config)
    started, cpu = time.perf_counter(), time.process_time()
    with (
        tempfile.TemporaryDirectory() as folder,
        Journal(LocalStorage(Path(folder)), "replies/classify/2026-11-22/0000/") as journal,
    ):
        replies: list[Reply] = list(namer.for_shard(journal, 1.0).reply(crops, TEMPLATE))
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    if [reply.text for reply in replies] != [said_of(encode_png(crop)) for crop in crops]:
        raise SystemExit("our replies differ")
    if not all(reply.token_ends == (len(reply.text),) for reply in replies):
        raise SystemExit("our tokens differ")
    return len(crops) / seconds, cpu / len(crops)


def main() -> None:
    """Prints both throughputs and their ratios."""
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--crops", type=int, default=1280)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--latency", type=float, default=1.0)
    chosen = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=serve, args=(chosen.latency, there), daemon=True)
    server.start()
    try:
        url = f"http://127.0.0.1:{here.recv()}/v1"
        remote = RemoteConfig(base_url=url, max_in_flight=chosen.in_flight)
        config = ClassifyConfig(namer="remote", model="fixed", remote=remote)
        crops = some_crops(chosen.crops)
        kilobytes = np.mean([len(encode_png(crop)) for crop in crops]) / 1000
        out.print(f"{len(crops)} crops, {kilobytes:.0f} KB as PNG, {chosen.latency:g} s each")
        alone = one_at_a_time(crops[:SEQUENTIAL_CROPS], config, remote)
        reached, cpu_s = ours(crops, config)
    finally:
        server.terminate()
        server.join()
    ideal = chosen.in_flight / chosen.latency
    out.print(f"ideal, {chosen.in_flight} in flight {ideal:8.2f} crops/s")
    out.print(f"ours {reached:20.2f} crops/s, {cpu_s * 1000:.1f} ms of CPU each")
    out.print(f"one at a time {alone:11.2f} crops/s")
    out.print(f"ratio to the ideal {reached / ideal:6.3f}  (target >= {TARGET})")
    out.print(f"ratio to one at a time {reached / alone:2.1f}")


if __name__ == "__main__":
    main()
