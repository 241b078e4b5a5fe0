"""naru pull against a server on loopback that cuts, corrupts, changes, refuses and redirects. Never a half file, never a
wrong one; and a server process has no HTTP client in it."""
import hashlib
import http.server
import json
import os
import pathlib
import random
import signal
import subprocess
import tempfile
import threading
import time

from serve import BIN, PATIENCE, Server, run_tests

DATA = random.Random(5).randbytes(3_000_000)
SUM = hashlib.sha256(DATA).hexdigest()
WORK = tempfile.TemporaryDirectory()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves DATA; `plan` is a list of faults, one taken for each request."""
    protocol_version = "HTTP/1.1"
    plan, seen = [], []
    data, etag = DATA, '"v1"'
    ranges = True

    def log_message(self, *args):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for k, v in headers.items():
            self.send_header(k.replace("_", "-"), v)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        Handler.seen.append((self.path, dict(self.headers)))
        fault = Handler.plan.pop(0) if Handler.plan else None
        if isinstance(fault, int):
            return self.answer(fault, b"no such luck")
        if isinstance(fault, str):
            return self.answer(302, b"elsewhere", Location=fault)
        data, start, status = Handler.data, 0, 200
        if fault == ("flip",):
            data = data[:1000] + bytes([data[1000] ^ 1]) + data[1001:]
        want = self.headers.get("Range")
        if want and Handler.ranges and self.headers.get("If-Range") == Handler.etag:
            start, status = int(want.removeprefix("bytes=").removesuffix("-")), 206
            if start >= len(data):
                return self.answer(416, b"", Content_Range=f"bytes */{len(data)}")
        body = data[start:]
        self.send_response(status)
        if Handler.etag:
            self.send_header("ETag", Handler.etag)
        if fault == ("named",):
            self.send_header("X-Linked-Etag", f'"{SUM}"')
        if status == 206:
            shift = 7 if fault == ("shift",) else 0
            self.send_header("Content-Range", f"bytes {start + shift}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault and fault[0] == "cut":
            self.wfile.write(body[:fault[1]])
            self.wfile.flush()
            self.close_connection = True
            return self.connection.shutdown(2)
        if fault and fault[0] == "slow":
            for i in range(0, len(body), 100_000):
                self.wfile.write(body[i:i + 100_000])
                time.sleep(0.05)
            return None
        return self.wfile.write(body)


class Web(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """Clients that were killed are part of the tests."""


web = Web(("127.0.0.1", 0), Handler)
threading.Thread(target=web.serve_forever, daemon=True).start()
BASE = f"http://127.0.0.1:{web.server_port}"


def reset(*plan, etag='"v1"', ranges=True, data=DATA):
    Handler.plan, Handler.seen, Handler.etag, Handler.ranges, Handler.data = list(plan), [], etag, ranges, data
    return pathlib.Path(tempfile.mkdtemp(dir=WORK.name))


def pull(where, *args, source=BASE + "/models/m.gguf", env=None):
    p = subprocess.run([BIN, "pull", source, "--to", str(where), "--json", *args], capture_output=True, timeout=PATIENCE,
                       env={**os.environ, "no_proxy": "*", **(env or {})})
    out = p.stdout.decode()
    return p.returncode, json.loads(out) if out else None, p.stderr.decode()


def whole(d, status, out, err, n_requests):
    assert status == 0, err
    assert (d / "m.gguf").read_bytes() == DATA and out["sha256"] == SUM and out["bytes"] == len(DATA), out
    assert os.listdir(d) == ["m.gguf"], os.listdir(d)
    assert len(Handler.seen) == n_requests, Handler.seen


def plain():
    """a file comes whole, its sum is told and verified, nothing else is left"""
    d = reset()
    status, out, err = pull(d)
    whole(d, status, out, err, 1)
    assert out["verified"] is False
    d = reset()
    status, out, err = pull(d, "--sha256", SUM.upper())
    whole(d, status, out, err, 1)
    assert out["verified"] is True
    assert pull(d)[0] == 2 and len(Handler.seen) == 1                      # it is there: kept
    assert pull(d, "--sha256", SUM)[0] == 0 and len(Handler.seen) == 1     # and it is the right one
    assert pull(d, "--sha256", "0" * 64)[0] == 2 and (d / "m.gguf").read_bytes() == DATA
    assert pull(d, "--force")[0] == 0 and len(Handler.seen) == 2


def empty():
    """an empty file is a file"""
    d = reset(data=b"")
    status, out, err = pull(d)
    assert status == 0 and out["bytes"] == 0 and (d / "m.gguf").read_bytes() == b"", err


def cut():
    """a connection cut three times is taken up where it was"""
    d = reset(("cut", 700_000), ("cut", 900_000), ("cut", 1))
    whole(d, *pull(d, "--sha256", SUM), 4)
    starts = [h.get("Range") for _, h in Handler.seen]
    assert starts == [None, "bytes=700000-", "bytes=1600000-", "bytes=1600001-"], starts


def next_run():
    """a run that gave up, or was killed, is taken up by the next"""
    d = reset(("cut", 500_000), 503, 503)
    status, out, err = pull(d, "--tries", "2")
    assert status == 1 and out is None and "503" in err, err
    assert sorted(os.listdir(d)) == ["m.gguf.part", "m.gguf.part.from"]
    Handler.plan = []
    status, out, err = pull(d, "--sha256", SUM)
    assert out["resumed_at"] == 500_000, out
    assert (d / "m.gguf").read_bytes() == DATA and os.listdir(d) == ["m.gguf"]
    d = reset(("slow",))
    p = subprocess.Popen([BIN, "pull", BASE + "/m.gguf", "--to", str(d)], stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL)
    part = d / "m.gguf.part"
    end = time.monotonic() + PATIENCE
    while not part.exists() or part.stat().st_size < 300_000:
        assert time.monotonic() < end and p.poll() is None
        time.sleep(0.005)
    status, _, err = pull(d, source=BASE + "/m.gguf")                      # two at once: the second is told
    assert status == 1 and "another pull" in err, err
    p.send_signal(signal.SIGKILL)
    p.wait()
    assert not (d / "m.gguf").exists()
    status, out, err = pull(d, source=BASE + "/m.gguf")
    assert status == 0 and out["resumed_at"] >= 300_000 and (d / "m.gguf").read_bytes() == DATA, (out, err)


def changed():
    """a part of another version, without a validator, or of a server without ranges is not continued"""
    for kind in ("version", "validator", "ranges", "shift"):
        d = reset(("cut", 500_000), 503, etag=None if kind == "validator" else '"v1"')
        assert pull(d, "--tries", "1")[0] == 1
        Handler.plan = [("shift",)] if kind == "shift" else []
        Handler.etag = '"v2"' if kind == "version" else '"v1"'
        Handler.ranges = kind != "ranges"
        status, out, err = pull(d, "--sha256", SUM)
        assert status == 0 and (d / "m.gguf").read_bytes() == DATA and os.listdir(d) == ["m.gguf"], (kind, err)


def rotten():
    """a flipped bit, in the transfer or in the part on disk, is found and nothing is kept; then it works"""
    d = reset(("flip",))
    status, _, err = pull(d, "--sha256", SUM)
    assert status == 1 and "SHA-256" in err and os.listdir(d) == [], err
    whole(d, *pull(d, "--sha256", SUM), 2)
    d = reset(("cut", 500_000), 503)
    assert pull(d, "--tries", "1")[0] == 1
    part = d / "m.gguf.part"
    part.write_bytes(b"?" + part.read_bytes()[1:])
    Handler.plan = []
    assert pull(d, "--sha256", SUM)[0] == 1 and os.listdir(d) == []
    d = reset(("cut", 500_000), 503)                                        # a part longer than the file
    assert pull(d, "--tries", "1")[0] == 1
    (d / "m.gguf.part").write_bytes(DATA + b"more")
    Handler.plan = []
    status, out, err = pull(d, "--sha256", SUM)
    assert status == 0 and (d / "m.gguf").read_bytes() == DATA, err


def named_sum():
    """a sum that the hub names is verified, across a redirection"""
    d = reset(("named",))
    status, out, err = pull(d)
    whole(d, status, out, err, 1)
    assert out["verified"] is True
    d = reset(("named",), data=DATA[:-1] + bytes([DATA[-1] ^ 1]))
    assert pull(d)[0] == 1 and os.listdir(d) == []


def hub():
    """OWNER/REPO:FILE becomes the hub's url; a token goes to the first host only"""
    d = reset(f"http://localhost:{web.server_port}/elsewhere")
    env = {"NARU_HUB": BASE + "/", "NARU_HUB_TOKEN": "secret"}
    status, out, err = pull(d, source="own er/repo:sub/m.gguf", env=env)
    assert status == 0 and (d / "m.gguf").read_bytes() == DATA, err
    (first, head), (second, head2) = Handler.seen
    assert first == "/own%20er/repo/resolve/main/sub/m.gguf" and second == "/elsewhere"
    assert head["Authorization"] == "Bearer secret" and "Authorization" not in head2


def refused():
    """404, 401, nobody listening, wrong words: one try, a clear line, nothing written"""
    for plan, words in [(404, "404"), (401, "NARU_HUB_TOKEN"), (403, "403")]:
        d = reset(plan)
        status, out, err = pull(d)
        assert status == 1 and words in err and os.listdir(d) == [] and len(Handler.seen) == 1, (err, Handler.seen)
    d = reset(*[BASE + "/loop"] * 50)
    assert pull(d)[0] == 1 and os.listdir(d) == [] and len(Handler.seen) <= 12
    d = reset()
    for source in ("ftp://127.0.0.1/x", "file:///etc/passwd", "a/b", "a/b:", "a/../b:x", "a/b:../x", "a/b/c:x", "",
                   BASE + "/", BASE + "/..", BASE):
        status, out, err = pull(d, source=source, env={"NARU_HUB": BASE})
        assert status == 2 and out is None and os.listdir(d) == [], (source, status, err)
    assert pull(d, "--sha256", "abc")[0] == 2
    d = reset("file:///etc/passwd")
    assert pull(d, "--tries", "1")[0] == 1 and os.listdir(d) == []
    assert pull(d / "nowhere" / "m.gguf")[0] == 1
    status, _, err = pull(d, "--tries", "1", source="http://127.0.0.1:1/m.gguf")
    assert status == 1 and os.listdir(d) == [], err


def serving_has_no_client():
    """the binary does not link libcurl, and a server that answers has not loaded it"""
    needed = subprocess.run(["readelf", "-d", BIN], capture_output=True, text=True, timeout=PATIENCE).stdout
    assert "libjson-c" in needed and "curl" not in needed
    with Server() as s:
        assert s.post("/v1/completions", {"prompt": "a", "max_tokens": 2})[0] == 200
        maps = pathlib.Path(f"/proc/{s.process.pid}/maps").read_text()
        assert "libjson-c" in maps and "curl" not in maps


run_tests([plain, empty, cut, next_run, changed, rotten, named_sum, hub, refused, serving_has_no_client])
