"""Keys, roles, limits, the admin socket and `naru keys`, against a running server (A-05, A-12, A-13, G-07, G-08)."""
import json
import os
import socket
import stat
import subprocess
import tempfile
import threading
import time

import anthropic
import openai

from serve import BIN, PATIENCE, Server, parse, read_all, run_tests

DIR = tempfile.TemporaryDirectory()
FILE, SOCKET = os.path.join(DIR.name, "keys.db"), os.path.join(DIR.name, "admin.sock")
HI = [{"role": "user", "content": "Tell me a story about a cat."}]


def keys(*args, ok=True):
    r = subprocess.run([BIN, "keys", *args, "--keys", FILE], capture_output=True, text=True, timeout=PATIENCE)
    assert (r.returncode == 0) == ok, r
    return r.stdout.strip() if ok else r.stderr


def listed():
    return {k["id"]: k for k in map(json.loads, keys("list", "--json").splitlines())}


def id_of(key):
    return key.split("_")[1]


ALICE, METER = keys("add", "alice"), keys("add", "meter", "--role", "metrics")
server = Server("--seqs", "4", "--keys", FILE, "--admin-socket", SOCKET)


def connect(key, retries=0):
    return openai.OpenAI(base_url=server.url + "/v1", api_key=key, max_retries=retries, timeout=PATIENCE)


def chat(key, retries=0, **more):
    return connect(key, retries).chat.completions.create(**{"model": model, "messages": HI, "max_tokens": 4, "temperature": 0, **more})


def fails(error, fn, *args, **more):
    try:
        fn(*args, **more)
    except error as e:
        return e
    raise AssertionError(f"no {error.__name__}")


def until(fn, error):
    """A change of the file counts within half a second; the machine may be busy."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return fn()
        except error:
            assert time.monotonic() < end
            time.sleep(0.05)


def admin(method, path, body=None):
    data = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(PATIENCE)
        s.connect(SOCKET)
        s.sendall(head.encode() + data)
        status, headers, body = parse(read_all(s))
    return status, json.loads(body) if headers.get("content-type") == "application/json" else body


model = connect(ALICE).models.list().data[0].id


def who_may():
    """no key, a wrong key and a forged one are 401; roles are 403; open routes stay open"""
    assert chat(ALICE).choices[0].message.content
    flipped = ALICE[:20] + ("0" if ALICE[20] != "0" else "1") + ALICE[21:]
    for bad in ("none", flipped, ALICE[:-1], ALICE + "0", "naru_" + "0" * 81):
        e = fails(openai.AuthenticationError, chat, bad)
        assert e.code == "invalid_api_key" and e.response.headers["www-authenticate"] == "Bearer"
    assert server.request("GET", "/v1/models")[0] == 401
    e = fails(openai.PermissionDeniedError, chat, METER)
    assert e.code == "role_not_allowed" and e.response.headers["x-should-retry"] == "false"
    for path, user, metrics in (("/metrics", 403, 200), ("/version", 403, 200), ("/v1/models", 200, 403), ("/health", 200, 200)):
        assert server.request("GET", path, headers=[f"Authorization: Bearer {ALICE}"])[0] == user, path
        assert server.request("GET", path, headers=[f"x-api-key: {METER}"])[0] == metrics, path
    assert server.request("GET", "/admin/keys", headers=[f"Authorization: Bearer {ALICE}"])[0] == 404
    assert server.request("GET", "/ready")[0] == 200


def anthropic_client():
    """x-api-key on the Messages route, its error classes, and a Bearer there too"""
    c = anthropic.Anthropic(base_url=server.url, api_key=ALICE, max_retries=0, timeout=PATIENCE)
    assert c.messages.create(model=model, messages=HI, max_tokens=4).content
    assert anthropic.Anthropic(base_url=server.url, auth_token=ALICE, max_retries=0).messages.count_tokens(model=model, messages=HI).input_tokens
    wrong = anthropic.Anthropic(base_url=server.url, api_key="x", max_retries=0)
    e = fails(anthropic.AuthenticationError, wrong.messages.create, model=model, messages=HI, max_tokens=4)
    assert e.body["error"]["type"] == "authentication_error"
    meter = anthropic.Anthropic(base_url=server.url, api_key=METER, max_retries=0)
    fails(anthropic.PermissionDeniedError, meter.messages.create, model=model, messages=HI, max_tokens=4)


def life_of_a_key():
    """added, rotated with overlap, revoked, expired: a running server follows"""
    first = keys("add", "bob", "--tenant", "team")
    until(lambda: chat(first), openai.AuthenticationError)
    second = keys("rotate", id_of(first), "--overlap", "600")
    until(lambda: chat(second), openai.AuthenticationError)
    assert chat(first)                                       # still good
    assert listed()[id_of(second)]["tenant"] == "team"
    keys("revoke", id_of(first))

    def refused(key):
        try:
            chat(key)
            raise TimeoutError
        except openai.AuthenticationError:
            pass
    until(lambda: refused(first), TimeoutError)
    assert chat(second)
    third = keys("rotate", id_of(second), "--overlap", "0")
    until(lambda: refused(second), TimeoutError)
    assert chat(third)
    assert "over already" in keys("rotate", id_of(second), ok=False)
    assert "no key" in keys("revoke", "ffffffff", ok=False)
    assert "name" in keys("add", "a b", ok=False) and "role" in keys("add", "x", "--role", "king", ok=False)


def no_secret_is_kept():
    """the file is its owner's, and holds neither keys nor secrets"""
    assert stat.S_IMODE(os.stat(FILE).st_mode) == 0o600
    data = b"".join(open(os.path.join(DIR.name, f), "rb").read() for f in os.listdir(DIR.name) if f.startswith("keys.db"))
    for key in (ALICE, METER):
        assert key.encode() not in data and key.split("_")[2].encode() not in data
    assert ALICE not in server.log_text()


def requests_a_minute():
    """exactly so many requests, rate headers, 429 with a time, and what the client makes of it"""
    key = keys("add", "few", "--rpm", "5")
    until(lambda: chat(key), openai.AuthenticationError)
    raw = connect(key).chat.completions.with_raw_response.create(model=model, messages=HI, max_tokens=2)
    assert raw.headers["x-ratelimit-limit-requests"] == "5" and raw.headers["x-ratelimit-remaining-requests"] == "3"
    assert raw.headers["x-ratelimit-reset-requests"].endswith("s") and "x-ratelimit-limit-tokens" not in raw.headers
    stream = connect(key).chat.completions.with_raw_response.create(model=model, messages=HI, max_tokens=2, stream=True)
    assert stream.headers["x-ratelimit-remaining-requests"] == "2"
    list(stream.parse())
    chat(key), chat(key)
    e = fails(openai.RateLimitError, chat, key)
    assert e.code == "rate_limit_exceeded" and 1 <= int(e.response.headers["retry-after"]) <= 60
    assert int(e.response.headers["retry-after-ms"]) == 1000 * int(e.response.headers["retry-after"])
    c = anthropic.Anthropic(base_url=server.url, api_key=key, max_retries=0)
    assert fails(anthropic.RateLimitError, c.messages.create, model=model, messages=HI, max_tokens=4).body["error"]["type"] == "rate_limit_error"


def many_at_once():
    """200 clients at once: not one request more than the limit"""
    key = keys("add", "crowd", "--rpm", "50")
    until(lambda: connect(key).models.list(), openai.AuthenticationError)
    counts = {}
    lock = threading.Lock()

    def one():
        status = server.request("GET", "/v1/models", headers=[f"Authorization: Bearer {key}"])[0]
        with lock:
            counts[status] = counts.get(status, 0) + 1
    threads = [threading.Thread(target=one) for _ in range(200)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert counts == {200: 49, 429: 151}, counts


def tokens_a_minute():
    """tokens are taken when a request begins; one that can never fit is told not to come again"""
    key = keys("add", "short", "--tpm", "100")
    r = until(lambda: chat(key, max_tokens=8), openai.AuthenticationError)
    assert r.usage.total_tokens < 60
    e = fails(openai.RateLimitError, chat, key, max_tokens=100)
    assert e.response.headers["x-should-retry"] == "false" and "lower max_tokens" in e.message
    e = fails(openai.RateLimitError, chat, key, max_tokens=95 - r.usage.prompt_tokens)
    assert int(e.response.headers["retry-after"]) >= 1 and e.response.headers["x-ratelimit-limit-tokens"] == "100"
    assert int(e.response.headers["x-ratelimit-remaining-tokens"]) == 100 - r.usage.total_tokens
    e = fails(openai.RateLimitError, connect(key).embeddings.create, model=model, input="word " * 95)
    assert e.response.headers["x-ratelimit-limit-tokens"] == "100"


def at_a_time():
    """so many requests at a time; the place is free again when a client leaves"""
    key = keys("add", "one", "--concurrent", "1")
    until(lambda: connect(key).models.list(), openai.AuthenticationError)
    c = connect(key)
    stream = c.chat.completions.create(model=model, messages=HI, stream=True, extra_body={"ignore_eos": True})
    next(iter(stream))
    assert fails(openai.RateLimitError, chat, key).response.headers["retry-after"] == "1"
    stream.close()
    c.close()
    until(lambda: chat(key), openai.RateLimitError)


def client_retries():
    """the client tries again where that helps, and only there"""
    key = keys("add", "again", "--concurrent", "1", "--tpm", "5000")
    until(lambda: connect(key).models.list(), openai.AuthenticationError)
    seen = server.log_text().count(" 429 ")
    fails(openai.RateLimitError, chat, key, retries=2, max_tokens=6000)      # x-should-retry: false
    assert server.log_text().count(" 429 ") == seen + 1
    c = connect(key)
    # so much that the client's and the server's buffers fill: it runs until it is read
    stream = c.chat.completions.create(model=model, messages=HI, stream=True, max_tokens=400, n=8, logprobs=True,
                                       top_logprobs=20, extra_body={"ignore_eos": True})
    next(iter(stream))
    fails(openai.RateLimitError, chat, key, retries=2)                      # retry-after-ms: 1000, twice
    assert server.log_text().count(" 429 ") == seen + 4
    stream.close()


def tenants_do_not_share():
    """the prefix cache is a tenant's own; keys of one tenant share it"""
    long = [{"role": "user", "content": "Here is a long sentence about a small boat on a wide river. " * 8}]
    a, b, c = keys("add", "a", "--tenant", "t1"), keys("add", "b", "--tenant", "t1"), keys("add", "c", "--tenant", "t2")
    until(lambda: chat(c), openai.AuthenticationError)
    cached = [chat(k, messages=long).usage.prompt_tokens_details.cached_tokens for k in (a, a, b, c)]
    assert cached[0] == 0 and cached[1] > 16 and cached[2] == cached[1] and cached[3] == 0, cached
    kept = connect(a).responses.create(model=model, input="Hi", max_output_tokens=4)
    assert connect(b).responses.retrieve(kept.id).id == kept.id
    fails(openai.NotFoundError, connect(c).responses.retrieve, kept.id)


def admin_socket():
    """the admin socket: its owner's only, lists, adds, revokes; usage adds up"""
    assert stat.S_IMODE(os.stat(SOCKET).st_mode) == 0o600
    status, new = admin("POST", "/admin/keys", {"name": "via-socket", "requests_per_minute": 7, "role": "operator"})
    assert status == 200 and new["key"].startswith("naru_" + new["id"]) and new["role"] == "operator"
    until(lambda: chat(new["key"]), openai.AuthenticationError)
    rows = {k["id"]: k for k in admin("GET", "/admin/keys")[1]["data"]}
    assert rows[new["id"]]["requests_per_minute"] == 7 and all("key" not in k for k in rows.values())
    assert admin("POST", "/admin/keys", {"name": "a b"})[1]["error"]["param"] == "name"
    assert admin("POST", "/admin/keys", {"name": "a", "role": "king"})[0] == 400
    assert admin("DELETE", "/admin/keys/" + new["id"])[0] == 200 and admin("DELETE", "/admin/keys/nobody")[0] == 404
    assert admin("GET", "/health")[0] == 200 and admin("GET", "/v1/models")[0] == 404
    used = keys("add", "counted")
    r = until(lambda: chat(used), openai.AuthenticationError).usage
    rows, end = [], time.monotonic() + PATIENCE
    while not rows and time.monotonic() < end:
        status, answer = admin("GET", "/admin/usage")
        assert status == 200, (answer, server.log_text()[-600:])
        rows = [u for u in answer["data"] if u["key"] == id_of(used)]
        time.sleep(0.1)
    assert sum(u["requests"] for u in rows) == 1 and sum(u["prompt_tokens"] for u in rows) == r.prompt_tokens
    assert sum(u["completion_tokens"] for u in rows) == r.completion_tokens


def clean_end():
    """the last usage is written at the end, and the socket is gone"""
    key = keys("add", "late")
    until(lambda: chat(key), openai.AuthenticationError)
    n = sum(u["requests"] for u in map(json.loads, keys("usage", "--json").splitlines()) if u["key"] == id_of(ALICE))
    chat(ALICE)
    server.stop()
    after = sum(u["requests"] for u in map(json.loads, keys("usage", "--json").splitlines()) if u["key"] == id_of(ALICE))
    assert after > n and not os.path.exists(SOCKET)


with server, DIR:
    run_tests([who_may, anthropic_client, life_of_a_key, no_secret_is_kept, requests_a_minute, many_at_once, tokens_a_minute,
               at_a_time, client_retries, tenants_do_not_share, admin_socket, clean_end])
