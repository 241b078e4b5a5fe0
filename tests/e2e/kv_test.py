"""State on a disk through the real program: a second run and a killed server's successor find the first one's
prefixes and answer the same; two owners, a wrong key, a read-only folder and damaged files. Prints TAP."""
import http.client
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
NARU = str(ROOT / os.environ.get("NARU_BIN", "build/naru"))
PROMPT = "One day a little fox went into the big dark wood to look for her friend the owl. " * 6


def run(*args, check=0):
    p = subprocess.run([NARU, *map(str, args)], capture_output=True, timeout=120)
    assert check is None or p.returncode == check, f"{args}: status {p.returncode}: {p.stderr.decode()[-400:]}"
    return p.stdout.decode(), p.stderr.decode()


def answer(kv, *more):
    out, _ = run("run", "-p", PROMPT, "--raw", "--temp", 0, "-n", 12, "--json", "--kv-dir", kv, "--kv-disk", "64M", *more)
    return json.loads(out)


class Server:
    def __init__(self, kv, *more):
        self.port_file = kv + ".port"
        self.log = open(kv + ".log", "w+")
        if os.path.exists(self.port_file):
            os.unlink(self.port_file)
        self.p = subprocess.Popen([NARU, "serve", "--port", "0", "--port-file", self.port_file, "--kv-dir", kv, "--kv-disk",
                                   "64M", "--name", "m", *more], stdout=subprocess.DEVNULL, stderr=self.log)
        for _ in range(1000):
            if self.p.poll() is not None or (os.path.exists(self.port_file) and open(self.port_file).read()):
                break
            time.sleep(0.02)
        assert self.p.poll() is None, open(kv + ".log").read()
        self.port = int(open(self.port_file).read())

    def get(self, path):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        c.request("GET", path)
        return c.getresponse().read().decode()

    def ask(self, prompt=PROMPT):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        c.request("POST", "/v1/completions", json.dumps({"model": "m", "prompt": prompt, "max_tokens": 12,
                  "temperature": 0}), {"content-type": "application/json"})
        r = json.loads(c.getresponse().read())
        return r["choices"][0]["text"], r["usage"]["prompt_tokens_details"]["cached_tokens"]

    def stop(self, how=signal.SIGTERM):
        self.p.send_signal(how)
        self.p.wait(60)
        self.log.seek(0)
        return self.log.read()


def test_second_run_reads_back(d):
    for more in ((), ("--kv", "q8_0")):
        first, second = answer(d, *more), answer(d, *more)
        assert first["ids"] == second["ids"]
        assert first["timings"]["cached_tokens"] == 0, first
        assert second["timings"]["cached_tokens"] > 60, second
    rows = json.loads(run("kv", "ls", d, "--json")[0])
    assert len(rows) == 2 and all(r["blocks"] >= 4 and r["model"] == "naru-chat.gguf" for r in rows), rows
    assert json.loads(run("kv", "check", d, "--json")[0])["failed"] == 0
    assert json.loads(run("kv", "gc", d, "--json", "--kv-disk", "64M")[0])["blocks"] >= 8


def test_killed_server_is_succeeded(d):
    s = Server(d)
    text, cached = s.ask()
    assert cached == 0
    assert s.ask() == (text, s.ask()[1])
    for _ in range(200):     # the writer's group commit: at most a fifth of a second behind
        if json.loads(run("kv", "stat", d, "--json")[0])["blocks"] >= 4:
            break
        time.sleep(0.02)
    s.stop(signal.SIGKILL)
    s = Server(d)
    again, cached = s.ask()
    assert again == text and cached > 60, (text, again, cached)
    metrics = s.get("/metrics")
    assert 'naru_kv_tier_state{tier="ssd"} 2' in metrics, metrics
    assert 'naru_kv_hits_total{tier="ssd"}' in metrics
    log = s.stop()
    assert "read back" in log and " 0 failed" in log, log


def test_two_owners(d):
    s = Server(d)
    _, err = run("serve", "--port", "0", "--kv-dir", d, check=1)
    assert "another process uses this KV store" in err, err
    run("kv", "stat", d)
    run("kv", "gc", d, check=1)
    s.stop()


def test_key(d):
    for name, byte in (("a", b"a"), ("b", b"b")):
        with open(f"{d}.{name}", "wb") as f:
            f.write(byte * 32)
    first, second = answer(d, "--kv-key-file", d + ".a"), answer(d, "--kv-key-file", d + ".a")
    assert first["ids"] == second["ids"] and second["timings"]["cached_tokens"] > 60
    _, err = run("run", "-p", "x", "--kv-dir", d, "--kv-key-file", d + ".b", check=1)
    assert "not the key" in err, err
    _, err = run("run", "-p", "x", "--kv-dir", d, check=1)
    assert "encrypted" in err, err
    _, err = run("run", "-p", "x", "--kv-disk", "1G", check=2)
    assert "--kv-dir" in err, err


def test_damage_is_computed_again(d):
    want = answer(d)
    for name in os.listdir(d):
        if name.endswith(".seg"):
            with open(os.path.join(d, name), "r+b") as f:
                f.seek(4096 + 3000)
                f.write(b"damage")
    out, err = run("kv", "check", d, "--json", check=1)
    assert json.loads(out)["failed"] == 1 and "computes" in err, (out, err)
    assert answer(d)["ids"] == want["ids"]
    assert answer(d)["timings"]["cached_tokens"] > 60     # and stored again
    with open(os.path.join(d, "STORE"), "wb") as f:
        f.write(b"something else")
    _, err = run("run", "-p", "x", "--kv-dir", d, check=1)
    assert "not the head of a KV store" in err and "nothing was" in err, err


def main():
    tests = [(n, f) for n, f in sorted(globals().items()) if n.startswith("test_")]
    print(f"1..{len(tests)}")
    failed = 0
    for i, (name, f) in enumerate(tests, 1):
        with tempfile.TemporaryDirectory() as d:
            try:
                f(os.path.join(d, "kv"))
                print(f"ok {i} - {name[5:]}", flush=True)
            except Exception as e:      # each test stands alone; the error is the report
                failed += 1
                print(f"not ok {i} - {name[5:]}\n# {type(e).__name__}: {str(e)[:600]}", flush=True)
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
