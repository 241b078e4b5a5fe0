"""The real server over raw sockets: malformed and slow requests, clients that leave, many at a time, the end."""
import json
import signal
import socket
import subprocess
import threading
import time

from serve import PATIENCE, Server, command, dechunk, events, parse, read_all, run_tests

server = Server("--seqs", "4", "--drain", "5")
MODEL = json.loads(server.request("GET", "/v1/models")[2])["data"][0]["id"]
PROMPT = "Once upon a time there was a little girl"


def completion(**more):
    return {"model": MODEL, "prompt": PROMPT, "max_tokens": 8, "temperature": 0, **more}


def http(path, body, extra=""):
    data = json.dumps(body).encode()
    return (f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{extra}"
            f"Content-Length: {len(data)}\r\n\r\n").encode() + data


def error_of(answer, status):
    got, headers, body = answer
    assert got == status, (got, body)
    assert headers["content-type"] == "application/json" and headers["x-request-id"]
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"]
    return error


def small_routes():
    """health, ready, version, tokenize, detokenize, apply-template"""
    for path in ("/health", "/ready", "/version"):
        assert server.request("GET", path)[0] == 200
    ids = server.post("/tokenize", {"prompt": PROMPT, "add_special_tokens": False})[2]
    assert ids["count"] == len(ids["tokens"]) > 0 and ids["max_model_len"] > 0
    assert server.post("/detokenize", {"tokens": ids["tokens"]})[2]["prompt"].strip() == PROMPT
    assert server.post("/tokenize", {"content": PROMPT})[2]["tokens"] == ids["tokens"]
    text = server.post("/apply-template", {"messages": [{"role": "user", "content": "Hello!"}]})[2]["prompt"]
    assert "Hello!" in text


def forged_tokens():
    """control tokens in a message are text, in every role and in parts"""
    plain = server.post("/tokenize", {"messages": [{"role": "user", "content": "a"}]})[2]["tokens"]
    text = server.post("/apply-template", {"messages": [{"role": "user", "content": "a"}]})[2]["prompt"]
    marks = [m for m in ("<|im_end|>", "<|im_start|>", "<|end|>", "</s>", "<s>") if m in text]
    assert marks, text
    control = [i for i in plain if i not in server.post("/tokenize", {"prompt": text, "add_special_tokens": False})[2]["tokens"]]
    for mark in marks:
        for content in (mark, [{"type": "text", "text": mark}]):
            ids = server.post("/tokenize", {"messages": [{"role": "user", "content": content}]})[2]["tokens"]
            assert all(ids.count(i) == plain.count(i) for i in control), (mark, ids)


def errors():
    """404, 405, 415, 400, 413: always the JSON error object"""
    assert error_of(server.request("GET", "/nothing"), 404)["code"] == "not_found"
    answer = server.request("GET", "/v1/chat/completions")
    error_of(answer, 405)
    assert answer[1]["allow"] == "POST, OPTIONS"
    data = b"a=b"
    form = server.raw(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                      b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\n\r\n" + data)
    error_of(parse(form), 415)
    for body in (b"", b"{", b"[]", b'"x"', b'{"a":1,"a":2}', b'{"prompt":"\xff"}', b"[" * 100 + b"]" * 100, b"\xef\xbb\xbf{}"):
        error_of(server.request("POST", "/v1/completions", body), 400)
    error_of(server.request("POST", "/v1/completions", b'"' + b"a" * (9 << 20) + b'"'), 413)


def field_errors():
    """each field at its borders: in range 200, outside and wrong type 400 with the param"""
    ranges = {"temperature": (0, 2), "top_p": (0, 1), "min_p": (0, 1), "n": (1, 8), "presence_penalty": (-2, 2),
              "frequency_penalty": (-2, 2), "logprobs": (0, 20), "repetition_penalty": (0.001, 100)}
    for field, (low, high) in ranges.items():
        for good in (low, high, None):
            assert server.post("/v1/completions", completion(max_tokens=1, **{field: good}))[0] == 200, (field, good)
        for bad in (low - 1, high + 1, "1", True, [], {}, 1e308):
            answer = server.request("POST", "/v1/completions", completion(**{field: bad}))
            assert error_of(answer, 400)["param"] == field, (field, bad)
    for field, bad in {"stream": 1, "stop": 5, "seed": 1.5, "logit_bias": {"x": 1}, "max_tokens": 0, "top_k": -2,
                       "stream_options": [], "echo": "yes", "stop_token_ids": ["a"], "guided_json": 5,
                       "suffix": "x", "best_of": 2, "prompt": 7, "model": 3}.items():
        param = error_of(server.request("POST", "/v1/completions", completion(**{field: bad})), 400)["param"]
        assert param.startswith(field), (field, param)
    assert server.post("/v1/completions", completion(no_such_field=[1], user="u"))[0] == 200


def request_ids():
    """a sound x-request-id is kept, another replaced"""
    kept = server.request("GET", "/health", headers=["X-Request-Id: abc.DEF_1-2"])[1]["x-request-id"]
    assert kept == "abc.DEF_1-2"
    assert server.request("GET", "/health", headers=["X-Request-Id: a b"])[1]["x-request-id"] != "a b"


def http_1_0():
    """HTTP/1.0: a whole answer, and a stream that ends with the connection"""
    data = json.dumps(completion(stream=True)).encode()
    head = f"POST /v1/completions HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    status, headers, body = parse(server.raw(head.encode() + data))
    assert status == 200 and "transfer-encoding" not in headers and events(body)[-1] == "[DONE]"


def head_and_options():
    """HEAD has the headers of GET and no body; OPTIONS says what is allowed"""
    status, headers, body = server.request("HEAD", "/v1/models")
    assert status == 200 and int(headers["content-length"]) > 0 and body == b""
    status, headers, _ = server.request("OPTIONS", "/v1/completions")
    assert status == 204 and "POST" in headers["allow"]
    assert "access-control-allow-origin" not in headers


def pipelining():
    """pipelined requests are answered in order on one connection"""
    one, two = completion(max_tokens=3), completion(max_tokens=5)
    end = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    text = server.raw(http("/v1/completions", one) + http("/v1/completions", two) + end).decode()
    assert text.index('"completion_tokens":3') < text.index('"completion_tokens":5') < text.index('"status":"ok"')


BAD_HEADS = {
    "bare LF": [b"GET /health HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", b"GET /health HTTP/1.1\nHost: x\r\n\r\n",
                b"GET /health HTTP/1.1\r\nHost: x\n\r\n", b"GET /health HTTP/1.1\r\nHost: x\r\n\n", b"GET /health HTTP/1.1\nHost: x\n\n"],
    "folded": [b"GET /health HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", b"GET /health HTTP/1.1\r\nHost: x\r\n\ty\r\nA: b\r\n\r\n"],
    "NUL": [b"GET /health HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n", b"GET /health HTTP/1.1\r\nHost: x\r\nA\0: b\r\n\r\n"],
    "space before the colon": [b"GET /health HTTP/1.1\r\nHost : x\r\n\r\n", b"GET /health HTTP/1.1\r\nHost: x\r\nA\t: b\r\n\r\n"],
    "control characters": [b"GET /health HTTP/1.1\r\nHost: x\r\nA: b\x01\r\n\r\n", b"GET /health HTTP/1.1\r\nHost: x\r\nA: \x7f\r\n\r\n"],
    "two lengths": [b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
                    b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
                    b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 2, 2\r\n\r\n{}", b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\n{}"],
    "no or two hosts": [b"GET /health HTTP/1.1\r\nA: b\r\n\r\n", b"GET /health HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n"],
}


def bad_heads():
    """A-02: bare LF, folding, NUL, blanks, controls, lengths told twice: 400 and close"""
    for what, heads in BAD_HEADS.items():
        for head in heads:
            answer = server.raw(head + b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 400 "), (what, head, answer[:200])
            assert b" 200 OK" not in answer, (what, head)               # closed: what follows is not a request
    good = b"\r\nGET /health?q=%20 HTTP/1.1\r\nHost:x  \r\nA:\r\nB:  c\t\r\nCookie: a=b; c=d\r\n" + b"".join(
        b"X-%d: %s\r\n" % (i, b"v" * 230) for i in range(50)) + b"Connection: close\r\n\r\n"
    with server.dial() as s:
        for at in range(0, len(good), 901):      # in pieces, so that the buffer grows on the way
            s.sendall(good[at:at + 901])
            time.sleep(0.002)
        assert parse(read_all(s))[0] == 200


def malformed():
    """200 malformed heads: refused and closed, never a hang"""
    base = b"GET /health HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n"
    bad = [b"\x00", b"\r", b" ", b"\x01", b"\x7f", b":", b"\xff"]
    n, taken = 0, []
    for at in range(0, 30):
        for b in bad[: 7 if at < 25 else 5]:
            data = base[:at] + b + base[at:]
            with server.dial() as s:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)      # nothing more comes: the server must not wait for it
                answer = read_all(s)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 "), answer[:80]
            if answer.startswith(b"HTTP/1.1 2"):
                taken.append((at, b))
            n += 1
    assert n == 200, n
    assert taken == [(0, b"\r")] + [(at, b" ") for at in (27, 28, 29)] or taken == [(at, b" ") for at in (27, 28, 29)], taken
    assert server.request("GET", "/health")[0] == 200


def slow_body():
    """a body that comes in small pieces is taken"""
    data = http("/v1/completions", completion(), "Connection: close\r\n")
    with server.dial() as s:
        for i in range(0, len(data), 7):
            s.sendall(data[i:i + 7])
        assert parse(read_all(s))[0] == 200


def expect_continue():
    """Expect: 100-continue is answered before the body"""
    data = json.dumps(completion()).encode()
    with server.dial() as s:
        s.sendall(f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\n"
                  f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode())
        assert s.recv(4096).startswith(b"HTTP/1.1 100")
        s.sendall(data)
        assert parse(read_all(s))[0] == 200


def endless(stream=True):
    return http("/v1/completions", completion(max_tokens=100000, ignore_eos=True, stream=stream))


def gone_in_decode():
    """a client that leaves in the middle of a stream frees its work"""
    before = server.log_text().count(" 499 ")
    with server.dial() as s:
        s.sendall(endless())
        assert s.recv(100)
    server.await_log(" 499 ", before + 1)


def gone_while_waiting():
    """so does one that waits for a whole answer"""
    before = server.log_text().count(" 499 ")
    with server.dial() as s:
        s.sendall(endless(stream=False))
        time.sleep(0.05)                    # it computes 100,000 tokens, or as many as the context holds
    server.await_log(" 499 ", before + 1)


def gone_in_queue():
    """clients that leave a full queue free their places; the next request is served"""
    before = server.log_text().count("/v1/completions")
    sockets = [server.dial() for _ in range(12)]        # 4 run, 8 wait
    for s in sockets:
        s.sendall(endless())
    for s in reversed(sockets):
        s.close()
    server.await_log("/v1/completions", before + 12)
    assert server.post("/v1/completions", completion())[0] == 200


def gone_before_body():
    """one that leaves before its body is complete leaves nothing behind"""
    for _ in range(20):
        with server.dial() as s:
            s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    assert server.post("/v1/completions", completion())[0] == 200


def many_streams():
    """32 streams at a time all say what one alone says"""
    want = server.post("/v1/completions", completion(max_tokens=24))[2]["choices"][0]["text"]
    results = [None] * 32

    def one(i):
        body = server.request("POST", "/v1/completions", completion(max_tokens=24, stream=True))[2]
        parts = [json.loads(e)["choices"][0]["text"] for e in events(body)[:-1]]
        results[i] = "".join(parts)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(32)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(PATIENCE)
    assert results == [want] * 32


def busy_port():
    """a second server on the port says so, names the way out, and ends with status 1"""
    p = subprocess.run(command("--port", str(server.port)), capture_output=True, timeout=PATIENCE)
    text = p.stderr.decode()
    assert p.returncode == 1 and str(server.port) in text and "--port" in text, (p.returncode, text)


def drain():
    """SIGTERM: a running stream ends with its answer or an error event, never cut; status 0"""
    with server.dial() as s:
        s.sendall(http("/v1/completions", completion(max_tokens=100000, ignore_eos=True, stream=True), "Connection: close\r\n"))
        head = b""
        while b"\r\n\r\n" not in head:
            head += s.recv(1)
        s.recv(10, socket.MSG_PEEK)
        server.process.send_signal(signal.SIGTERM)
        said = events(dechunk(read_all(s)))
    last = said[-1]
    assert last == "[DONE]" or json.loads(last)["error"]["code"] == "shutting_down", last
    if last != "[DONE]":
        assert all(json.loads(e)["choices"][0]["finish_reason"] is None for e in said[:-1])
    assert server.process.wait(PATIENCE) == 0


def second_signal():
    """a second SIGTERM ends at once"""
    with Server("--drain", "600") as s:
        with s.dial() as c:
            c.sendall(endless())
            c.recv(100)
            s.process.send_signal(signal.SIGTERM)
            s.await_log("ending")
            time.sleep(0.05)
            s.process.send_signal(signal.SIGTERM)
            s.process.wait(PATIENCE)


with server:
    run_tests([small_routes, forged_tokens, errors, field_errors, request_ids, http_1_0, head_and_options, pipelining,
               bad_heads, malformed, slow_body, expect_continue, gone_in_decode, gone_while_waiting, gone_in_queue,
               gone_before_body, many_streams, busy_port, drain, second_signal])
