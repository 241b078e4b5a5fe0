"""Starts the real server for the API tests, speaks raw HTTP to it, and prints TAP lines.

NARU_BIN: the binary (default build/naru). NARU_E2E_MODEL: the model (default: the bundled one)."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BIN = os.environ.get("NARU_BIN", str(ROOT / "build/naru"))
MODEL = os.environ.get("NARU_E2E_MODEL")
PATIENCE = 60.0     # seconds after which something is broken, not slow


def command(*args):
    return [BIN, "serve"] + (["-m", MODEL] if MODEL else []) + list(args)


class Server:
    """A running `naru serve` on a free port of loopback, with its log."""

    def __init__(self, *args, env=None):
        self.dir = tempfile.TemporaryDirectory()
        self.log_path = os.path.join(self.dir.name, "log")
        port_file = os.path.join(self.dir.name, "port")
        self.log = open(self.log_path, "w+b")
        self.process = subprocess.Popen(command("--port", "0", "--port-file", port_file, *args), stderr=self.log,
                                        env={**os.environ, **(env or {})})
        end = time.monotonic() + PATIENCE
        while not os.path.exists(port_file):
            if self.process.poll() is not None or time.monotonic() > end:
                self.log.flush()
                raise RuntimeError("the server did not start: " + self.log_text())
            time.sleep(0.02)
        self.port = int(open(port_file).read())
        self.url = f"http://127.0.0.1:{self.port}"

    def log_text(self):
        with open(self.log_path, "rb") as f:
            return f.read().decode()

    def await_log(self, text, count=1):
        """Waits until the log holds the text so often."""
        end = time.monotonic() + PATIENCE
        while self.log_text().count(text) < count:
            assert time.monotonic() < end, f"the log never said {text!r} {count} times:\n{self.log_text()[-2000:]}"
            time.sleep(0.02)

    def stop(self, expect=0):
        """SIGTERM; the exit status must be the one expected."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(PATIENCE)
        assert status == expect, f"exit status {status}: {self.log_text()[-2000:]}"

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()
        self.dir.cleanup()

    def dial(self):
        s = socket.create_connection(("127.0.0.1", self.port))
        s.settimeout(PATIENCE)
        return s

    def raw(self, data):
        """Sends bytes, returns all that comes until the other side closes."""
        with self.dial() as s:
            s.sendall(data)
            return read_all(s)

    def request(self, method, path, body=None, headers=()):
        """One request on a connection of its own: (status, headers, body bytes)."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        head = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close"]
        if body is not None:
            head += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
        return parse(self.raw("\r\n".join(head + list(headers) + ["", ""]).encode() + data))

    def post(self, path, body, headers=()):
        status, head, data = self.request("POST", path, body, headers)
        return status, head, json.loads(data)


def read_all(s):
    out = b""
    while True:
        try:
            data = s.recv(65536)
        except ConnectionResetError:
            return out
        if not data:
            return out
        out += data


def parse(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    assert lines[0].startswith("HTTP/1."), answer[:200]
    headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
    if headers.get("transfer-encoding") == "chunked":
        body = dechunk(body)
    return int(lines[0].split()[1]), headers, body


def dechunk(body):
    """The whole body; an end without the last chunk is an error."""
    out = b""
    while True:
        size, _, body = body.partition(b"\r\n")
        n = int(size, 16)
        if n == 0:
            return out
        assert len(body) >= n + 2, "the stream ended inside a chunk"
        out, body = out + body[:n], body[n + 2:]


def events(body):
    """The data of each event of a stream, comments left out."""
    blocks = [b for b in body.decode().split("\n\n") if b and not b.startswith(":")]
    assert all(b.startswith("data: ") for b in blocks), blocks
    return [b[6:] for b in blocks]


def run_tests(tests):
    """Runs functions; the first line of the docstring is the name. Ends the process."""
    failed = 0
    for n, test in enumerate(tests, 1):
        name = (test.__doc__ or test.__name__).strip().split("\n")[0]
        try:
            test()
            print(f"ok {n} - {name}", flush=True)
        except Exception:
            failed += 1
            print(f"not ok {n} - {name}", flush=True)
            print("".join("# " + line + "\n" for line in traceback.format_exc().splitlines()), flush=True)
    sys.exit(failed != 0)
