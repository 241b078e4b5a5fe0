"""Every curl example of docs/api.md, as it stands there, against a running server (C5), and curl's own habits: HTTP/1.0,
HEAD, OPTIONS, a slow body, a Unix socket."""
import json
import os
import re
import subprocess
import tempfile

from serve import PATIENCE, ROOT, Server, run_tests

TEXT = (ROOT / "docs/api.md").read_text()
DIR = tempfile.TemporaryDirectory()
SOCKET = os.path.join(DIR.name, "admin.sock")
server = Server("--seqs", "4", "--admin-socket", SOCKET, "--keys", os.path.join(DIR.name, "keys.db"))
open_server = Server("--seqs", "4")


def run(command, **more):
    r = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=PATIENCE, **more)
    assert r.returncode == 0, (command, r.stderr)
    return r.stdout


def examples():
    """the examples answer what the page says they do"""
    blocks = re.findall(r"```sh\n(.*?)```", TEXT, re.S)
    assert len(blocks) >= 14, len(blocks)
    for block in blocks:
        out = run(block.replace("http://127.0.0.1:8080", open_server.url))
        if '"stream": true' in block:
            assert out.rstrip().endswith("data: [DONE]") and '"usage":{' in out, out[-300:]
            continue
        answer = json.loads(out)
        assert ("error" in answer and answer["error"] is not None) == ('"messages": []' in block), (block, out)


def admin():
    """the examples of the admin socket"""
    lines = [x.strip() for x in TEXT.splitlines() if x.strip().startswith("curl --unix-socket")]
    assert len(lines) == 4
    made = json.loads(run(lines[1].replace("admin.sock", SOCKET)))
    listed = json.loads(run(lines[0].replace("admin.sock", SOCKET)))
    assert made["key"] and [k["id"] for k in listed["data"]] == [made["id"]]
    assert json.loads(run(lines[3].replace("admin.sock", SOCKET)))["data"] == []
    assert json.loads(run(lines[2].replace("admin.sock", SOCKET).replace("1a2b3c4d", made["id"]))) == {"revoked": True}


def habits():
    """curl: HTTP/1.0, HEAD, OPTIONS, a slow body, errors with --fail, a stream cut by the client"""
    url = open_server.url
    ask = "-H 'content-type: application/json' -d '{\"prompt\":\"a\",\"max_tokens\":2}'"
    assert json.loads(run(f"curl -s --http1.0 {url}/v1/completions {ask}"))["usage"]["completion_tokens"] <= 2
    head = run(f"curl -sI {url}/v1/models").lower()
    assert head.startswith("http/1.1 200") and "x-request-id: req_" in head and "content-length:" in head
    assert "allow: post, options" in run(f"curl -si -X OPTIONS {url}/v1/messages").lower()
    slow = run(f"head -c 3000 /dev/zero | tr '\\0' ' ' | (cat; echo '{{\"prompt\":\"a\"}}') | curl -s --limit-rate 2k "
               f"-H 'content-type: application/json' --data-binary @- {url}/tokenize")
    assert json.loads(slow)["count"] > 0
    codes = {"/nothing": "404", "/v1/models/none": "404", "/v1/completions": "405"}
    for path, code in codes.items():
        assert run(f"curl -s -o /dev/null -w '%{{http_code}}' {url}{path}") == code
    assert run(f"curl -s -o /dev/null -w '%{{http_code}}' -d 'a=b' {url}/v1/completions") == "415"
    assert run(f"curl -s -o /dev/null -w '%{{http_code}}' {server.url}/v1/models") == "401"
    cut = f"curl -sN --max-time 1 {url}/v1/completions -H 'content-type: application/json' -d '{{\"prompt\":\"a\",\"stream\":true,\"n\":8,\"ignore_eos\":true,\"temperature\":1}}' | head -c 2000 | head -1"
    assert run(cut).startswith("data: {")
    assert run(f"curl -s {url}/health") == '{"status":"ok"}\n'


def ends():
    """both end with status 0"""
    server.stop()
    open_server.stop()


with DIR, server, open_server:
    run_tests([examples, admin, habits, ends])
