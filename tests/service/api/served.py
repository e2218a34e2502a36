"""`kirik serve` as a user runs it, in processes of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import httpx


class Served:
    """`kirik serve` in processes of its own."""

    def __init__(self, data: Path, model: Path, *more: str):
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            self.port = free.getsockname()[1]
        self.data, self.model, self.more = data, model, more
        self.database_url = ""
        self.process: subprocess.Popen | None = None
        self.said, self.scheme = "", "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def start(self) -> None:
        words = ["serve", "--port", str(self.port), "--data", str(self.data), "--threads", "1"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kirik", *words, "--model", str(self.model), *self.more],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"KIRIK_DATABASE_URL": self.database_url},
        )
        self.said = self.process.stdout.readline()
        until = time.monotonic() + 30
        while time.monotonic() < until:
            try:
                httpx.get(f"{self.url}/health", verify=False)
                return
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError("kirik serve does not answer")

    def worker(self) -> int | None:
        """The worker's process id."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        for path in children.parent.parent.glob("*/children"):
            for child in path.read_text().split():
                command = Path(f"/proc/{child}/cmdline").read_bytes()
                if b"companion" in command:
                    return int(child)
        return None

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)
