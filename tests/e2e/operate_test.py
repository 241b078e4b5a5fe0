"""How an operator runs the server: options in layers, --check-config, reload with roll back, the service manager's
protocol, drain, restart on the same port."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time

from serve import BIN, PATIENCE, ROOT, Server, command, dechunk, events, read_all, run_tests

WORK = tempfile.TemporaryDirectory()
CONF = pathlib.Path(WORK.name, "naru.conf")


def run(*args, env=None):
    p = subprocess.run([BIN, "serve", *args], capture_output=True, timeout=PATIENCE, env={**os.environ, **(env or {})})
    return p.returncode, p.stdout.decode(), p.stderr.decode()


def value(text, name):
    """What --check-config says an option is; options as by default are comments."""
    for line in text.splitlines():
        key, _, rest = line.removeprefix("# ").partition(" = ")
        if key == name:
            return rest
    raise AssertionError(f"{name} is not in {text}")


def layers():
    """the command line wins over the environment, that over the file, that over the defaults"""
    CONF.write_text("port = 1001\nctx = 512\ndrain = 3\n")
    env = {"NARU_PORT": "1002", "NARU_CTX": "600"}
    status, out, err = run("--config", str(CONF), "--port", "1003", "--check-config", env=env)
    assert status == 0, err
    assert [value(out, n) for n in ("port", "ctx", "drain", "responses")] == ["1003", "600", "3", "1024"]
    CONF.write_text(out)     # what it prints reads back to the same
    assert run("--config", str(CONF), "--check-config")[1] == out
    status, out, _ = run("--check-config", env={"NARU_CONFIG": str(CONF)})
    assert status == 0 and value(out, "ctx") == "600"


def bad_files():
    """a wrong file is refused before the model is opened, with file, line and mend"""
    for text, words in [("port = 80\nprot = 81\n", ["naru.conf", "line 2", "--port"]), ("port = many\n", ["line 1", "whole"]),
                        ("kv-policy = mru\n", ["naru, lru"]), ("config = x\n", ["line 1", "cannot be set in a file"]),
                        ("port\n", ["line 1", "name = value"]), ("port = 1\0\n", ["NUL"])]:
        CONF.write_text(text)
        for extra in (["--check-config"], []):
            status, out, err = run("--config", str(CONF), "-m", "/nowhere", *extra)
            assert status == 2 and out == "" and all(w in err for w in words), (text, status, err)
    status, _, err = run("--config", "/nowhere.conf")
    assert status == 1 and "/nowhere.conf" in err, err


def shipped_file():
    """the packaged configuration is valid"""
    status, _, err = run("--config", str(ROOT / "packaging/naru.conf"), "--check-config")
    assert status == 0, err


def stream(server, n):
    body = json.dumps({"prompt": "Once upon a time", "max_tokens": n, "ignore_eos": True, "stream": True}).encode()
    s = server.dial()
    s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
              b"Content-Length: %d\r\n\r\n" % len(body) + body)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += s.recv(1)
    s.recv(1, socket.MSG_PEEK)
    return s


def reload():
    """SIGHUP: what can change does, the rest is named, a wrong file changes nothing, a stream is not disturbed"""
    CONF.write_text("drain = 600\n")
    with Server("--config", str(CONF)) as s:
        c = stream(s, 40)
        CONF.write_text("drain = 600\nport = banana\n")
        s.process.send_signal(signal.SIGHUP)
        s.await_log("nothing was changed")
        assert "line 2" in s.log_text() and "banana" in s.log_text()
        CONF.write_text("drain = 7\nctx = 700\n")
        s.process.send_signal(signal.SIGHUP)
        s.await_log("drain: 600 -> 7\n")
        s.await_log("ctx: 0 -> 700 (takes a restart)")
        assert events(dechunk(read_all(c)))[-1] == "[DONE]"
        c.close()
        CONF.write_text("drain = 7\nctx = 700\nlog = quiet\n")
        s.process.send_signal(signal.SIGHUP)
        time.sleep(0.05)
        before = None
        end = time.monotonic() + PATIENCE
        while before != s.log_text():     # quiet now: requests leave no line
            before = s.log_text()
            s.request("GET", "/health")
            assert time.monotonic() < end
        s.stop()


def notify():
    """Type=notify: READY after listening, RELOADING and READY around a reload, STOPPING at the end"""
    path = os.path.join(WORK.name, "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(PATIENCE)
        with Server(env={"NOTIFY_SOCKET": path}) as s:
            assert manager.recv(4096) == b"READY=1"
            assert s.request("GET", "/ready")[0] == 200
            s.process.send_signal(signal.SIGHUP)
            assert manager.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
            assert manager.recv(4096) == b"READY=1"
            s.process.send_signal(signal.SIGTERM)
            assert manager.recv(4096) == b"STOPPING=1"
            assert s.process.wait(PATIENCE) == 0


def drain():
    """SIGTERM: not ready and no new work at once, the running answer is finished, status 0"""
    with Server("--drain", "600") as s:
        c = stream(s, 300)
        idle = s.dial()
        idle.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200" in idle.recv(65536)
        s.process.send_signal(signal.SIGTERM)
        s.await_log("ending")
        refused = b""
        try:
            idle.sendall(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
            refused = idle.recv(65536)
        except ConnectionError:
            pass
        assert refused == b"" or b" 503 " in refused, refused
        said = events(dechunk(read_all(c)))
        assert said[-1] == "[DONE]" and json.loads(said[-2])["choices"][0]["finish_reason"] == "length", said[-2:]
        assert s.process.wait(PATIENCE) == 0
        c.close()
        idle.close()


def restart():
    """ten restarts on one port while a client retries: every request is answered, none is cut"""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    for _ in range(10):
        with tempfile.TemporaryDirectory() as d:
            port_file = os.path.join(d, "port")
            p = subprocess.Popen(command("--port", port, "--port-file", port_file, "--log", "quiet"))
            end = time.monotonic() + PATIENCE
            while not os.path.exists(port_file):
                assert p.poll() is None and time.monotonic() < end, "it did not start on the port its forerunner left"
                time.sleep(0.01)
            s = type("S", (), {"dial": lambda self: socket.create_connection(("127.0.0.1", int(port)), PATIENCE)})()
            c = stream(s, 20)
            p.send_signal(signal.SIGTERM)
            assert events(dechunk(read_all(c)))[-1] == "[DONE]"
            c.close()
            assert p.wait(PATIENCE) == 0


run_tests([layers, bad_files, shipped_file, reload, notify, drain, restart])
