"""Constrained output over HTTP: schemas, expressions, choices, grammars; every answer validates (A-31, F-43, L7)."""
import json
import re
import threading

from serve import Server, events, run_tests

server = Server("--seqs", "8")
HI = [{"role": "user", "content": "Tell me about a cat."}]
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 12},
        "kind": {"enum": ["cat", "dog", None, 7]},
        "age": {"type": "integer", "minimum": -3, "maximum": 42},
        "weight": {"type": "number", "exclusiveMinimum": 0, "maximum": 9.5},
        "born": {"type": "string", "format": "date"},
        "code": {"type": "string", "pattern": "^[a-f]{2}-\\d+$", "maxLength": 8},
        "friends": {"type": "array", "items": {"$ref": "#/$defs/friend"}, "maxItems": 2},
    },
    "required": ["name", "age", "weight", "born", "code"],
    "additionalProperties": False,
    "$defs": {"friend": {"type": "object", "properties": {"n": {"type": "boolean"}}, "required": ["n"],
                         "additionalProperties": False}},
}


def validate(x):
    """What SCHEMA says, written again by hand."""
    assert isinstance(x, dict) and set(x) <= set(SCHEMA["properties"]) and set(SCHEMA["required"]) <= set(x), x
    assert isinstance(x["name"], str) and 1 <= len(x["name"]) <= 12, x
    assert x.get("kind") in ("cat", "dog", None, 7), x
    assert type(x["age"]) is int and -3 <= x["age"] <= 42, x
    assert type(x["weight"]) in (int, float) and 0 < x["weight"] <= 9.5, x
    y, m, d = map(int, re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)", x["born"]).groups())
    leap = y % 4 == 0 and (y % 100 != 0 or y % 400 == 0)
    assert 1 <= d <= [31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][m - 1], x
    assert re.fullmatch(r"[a-f]{2}-\d+", x["code"]) and len(x["code"]) <= 8, x
    friends = x.get("friends", [])
    assert isinstance(friends, list) and len(friends) <= 2, x
    assert all(isinstance(f, dict) and set(f) == {"n"} and type(f["n"]) is bool for f in friends), x


def ask(path="/v1/chat/completions", **fields):
    body = {"max_tokens": 400, "temperature": 1, **fields}
    body.update({"prompt": "A cat"} if path == "/v1/completions" else {"messages": HI})
    return server.post(path, body)


def answer(**fields):
    status, _, body = ask(**fields)
    assert status == 200, body
    choice = body["choices"][0]
    assert choice["finish_reason"] == "stop", choice
    return choice["message"]["content"]


def schema_format(schema, **more):
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, **more}}


def hundred_seeds():
    """100 seeds at temperature 1: every answer is valid, or was cut by max_tokens"""
    results, failures = [], []

    def worker(first):
        try:
            for seed in range(first, 100, 8):
                status, _, body = ask(response_format=schema_format(SCHEMA, strict=True), seed=seed)
                assert status == 200, body
                results.append(body["choices"][0])
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=worker, args=(i,)) for i in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not failures, failures
    done = [c["message"]["content"] for c in results if c["finish_reason"] == "stop"]
    assert len(results) == 100 and len(done) >= 90, (len(results), len(done))
    for text in done:
        validate(json.loads(text))
    assert len(set(done)) > 50


def object_format():
    """json_object gives an object, also with a schema beside it; text says nothing"""
    for seed in range(4):
        _, _, body = ask(response_format={"type": "json_object"}, seed=seed, max_tokens=60)
        choice = body["choices"][0]
        assert choice["message"]["content"].startswith("{")
        if choice["finish_reason"] == "stop":
            assert isinstance(json.loads(choice["message"]["content"]), dict)
    text = answer(response_format={"type": "json_object", "schema": {"properties": {"a": {"const": 1}}, "required": ["a"]}})
    assert json.loads(text) == {"a": 1}
    assert ask(response_format={"type": "text"}, max_tokens=4)[0] == 200


def other_kinds():
    """regex, choice, grammar, schema: by their field names of vLLM and llama.cpp"""
    assert re.fullmatch(r"\d{3}-[a-z]+!", answer(guided_regex=r"\d{3}-[a-z]{1,8}!"))
    assert answer(guided_choice=["red", "green", "dark green"]) in ("red", "green", "dark green")
    assert re.fullmatch("(ab)+c", answer(guided_grammar='root ::= "ab"{1,5} "c"'))
    assert re.fullmatch("x+y", answer(grammar='root ::= "x"{1,9} "y"'))
    assert json.loads(answer(json_schema={"type": "boolean"})) in (True, False)
    assert json.loads(answer(guided_json={"enum": [[1, 2], "z"]})) in ([1, 2], "z")
    out = answer(structured_outputs={"json": {"type": "array", "prefixItems": [{"const": 1}, {"const": "b"}]},
                                     "disable_any_whitespace": True})
    assert out == '[1,"b"]', out
    assert answer(structured_outputs={"choice": ["only"]}) == "only"
    status, _, body = ask("/v1/completions", guided_choice=[" yes", " no"], max_tokens=20)
    assert status == 200 and body["choices"][0]["text"] in (" yes", " no"), body


def bounded():
    """max_tokens cuts with finish_reason length; a bias cannot break a constraint"""
    _, _, body = ask(guided_regex="a{200}", max_tokens=10)
    choice = body["choices"][0]
    assert choice["finish_reason"] == "length" and set(choice["message"]["content"]) == {"a"}, choice
    ids = server.post("/tokenize", {"content": "yes", "add_special": False})[2]["tokens"]
    assert answer(guided_choice=["yes"], logit_bias={str(i): -100 for i in ids}) == "yes"
    assert answer(guided_choice=["yes"], min_tokens=12) == "yes"


def streams():
    """a stream, several choices, and the other dialects"""
    status, _, body = server.request("POST", "/v1/chat/completions", {
        "messages": HI, "stream": True, "n": 3, "temperature": 1, "response_format": schema_format({"enum": ["on", "off"]})})
    assert status == 200
    texts = ["", "", ""]
    for event in events(body):
        for c in json.loads(event)["choices"] if event != "[DONE]" else []:
            texts[c["index"]] += c["delta"].get("content") or ""
    assert all(json.loads(t) in ("on", "off") for t in texts), texts
    status, _, body = server.post("/v1/responses", {
        "input": "Say it.", "text": {"format": {"type": "json_schema", "name": "x", "schema": {"const": {"a": [1]}}}}})
    assert status == 200 and json.loads(body["output"][-1]["content"][0]["text"]) == {"a": [1]}, body


def refusals():
    """what cannot be held is 400 with the path of the keyword; two constraints are one too many"""
    for schema, path in [({"properties": {"a": {"uniqueItems": True, "type": "array"}}}, "properties.a.uniqueItems"),
                         ({"not": {}}, "not"), ({"$ref": "#/nowhere"}, "$ref")]:
        for _ in range(2):  # compiled, then kept
            status, _, body = ask(response_format=schema_format(schema, strict=True))
            assert status == 400 and body["error"]["param"] == "response_format.json_schema.schema." + path, body
    for fields, param in [({"guided_regex": "(a)\\1"}, "guided_regex"), ({"grammar": "root ::= x"}, "grammar"),
                          ({"guided_choice": []}, "guided_choice"), ({"guided_json": "{}"}, "guided_json"),
                          ({"guided_regex": "a", "grammar": 'root ::= "a"'}, "grammar"),
                          ({"response_format": {"type": "xml"}}, "response_format.type"),
                          ({"structured_outputs": {"structural_tag": "x"}}, "structured_outputs.structural_tag"),
                          ({"guided_regex": "(" * 60000}, "guided_regex"),
                          ({"guided_json": {"enum": list(range(20000))}}, "guided_json")]:
        status, _, body = ask(**fields)
        assert status == 400 and body["error"]["param"] == param, (str(fields)[:80], body)
    both = {"oneOf": [{"type": "number"}, {"type": "integer"}]}
    assert ask(response_format=schema_format(both, strict=True))[0] == 400
    assert float(answer(response_format=schema_format(both))) is not None
    # a stream that cannot begin is a plain 400, not a 200 that fails
    status, head, _ = ask(guided_regex="(a)\\2", stream=True)
    assert status == 400 and head["content-type"].startswith("application/json")


def many_at_once():
    """100 different schemas from 8 clients, more than are kept; then the server still answers"""
    failures = []

    def worker(k):
        try:
            for i in range(k, 100, 8):
                assert json.loads(answer(guided_json={"const": {"n": i}})) == {"n": i}
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=worker, args=(i,)) for i in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not failures, failures
    assert answer(guided_choice=["red"]) == "red"


with server:
    run_tests([hundred_seeds, object_format, other_kinds, bounded, streams, refusals, many_at_once])
