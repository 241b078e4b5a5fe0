"""Embeddings through the official client: a decoder and two real encoder files against an independent
implementation's vectors (tests/golden/make_encoders.py), both encodings, order, limits (A-41)."""
import base64
import json
import math
import os
import struct

import openai

from serve import PATIENCE, ROOT, Server, run_tests


def golden(name):
    return str(ROOT / "tests/golden" / name / "model.gguf"), json.loads((ROOT / "tests/golden" / name / "expected.json").read_text())


def connect(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=PATIENCE)


server = Server("--seqs", "4")
client = connect(server)
model = client.models.list().data[0].id
TEXTS = ["a small boat", "the river is wide", "a small boat"]


def both_encodings():
    """base64 (the client's default) and float give the same vectors of length 1, in order"""
    default = client.embeddings.create(model=model, input=TEXTS)
    floats = client.embeddings.create(model=model, input=TEXTS, encoding_format="float")
    assert [d.index for d in floats.data] == [0, 1, 2] and floats.object == "list" and floats.data[0].object == "embedding"
    for a, b in zip(default.data, floats.data):
        assert a.embedding == [struct.unpack("<f", struct.pack("<f", x))[0] for x in b.embedding]
        assert abs(sum(x * x for x in b.embedding) - 1) < 1e-5
    assert floats.data[0].embedding == floats.data[2].embedding != floats.data[1].embedding
    assert floats.usage.prompt_tokens == floats.usage.total_tokens > 6 and floats.model == model
    raw = server.post("/v1/embeddings", {"input": "a", "encoding_format": "base64"})[2]["data"][0]["embedding"]
    assert len(base64.b64decode(raw, validate=True)) == 4 * len(floats.data[0].embedding)


def inputs():
    """a string, strings, ids and lists of ids"""
    one = client.embeddings.create(model=model, input=TEXTS[0], encoding_format="float").data
    assert len(one) == 1
    ids = server.post("/tokenize", {"prompt": TEXTS[0]})[2]["tokens"]
    for given in (ids, [ids]):
        assert client.embeddings.create(model=model, input=given, encoding_format="float").data[0].embedding == one[0].embedding


def dimensions():
    """fewer dimensions: the first values, of length 1 again"""
    whole = client.embeddings.create(model=model, input=TEXTS[0], encoding_format="float").data[0].embedding
    part = client.embeddings.create(model=model, input=TEXTS[0], encoding_format="float", dimensions=16).data[0].embedding
    norm = math.sqrt(sum(x * x for x in whole[:16]))
    assert len(part) == 16 and max(abs(a - b / norm) for a, b in zip(part, whole)) < 1e-6


def errors():
    """what is wrong is named"""
    for bad, param in (({"input": ""}, "input"), ({"input": []}, "input"), ({"input": ["a", ""]}, "input[1]"),
                       ({"input": [[]]}, "input[0]"), ({"input": {}}, "input"), ({}, "input"), ({"input": ["a", 3]}, "input[1]"),
                       ({"input": "a", "dimensions": 0}, "dimensions"), ({"input": "a", "dimensions": 1 << 20}, "dimensions"),
                       ({"input": "a", "encoding_format": "hex"}, "encoding_format"), ({"input": [1 << 30]}, "input[0]"),
                       ({"input": "a", "model": "x"}, "model"), ({"input": ["a"] * 2049}, "input")):
        status, _, data = server.post("/v1/embeddings", bad)
        assert status == (404 if param == "model" else 400) and data["error"]["param"] == param, (bad, data)
    status, _, data = server.post("/v1/embeddings", {"input": "word " * 40000})
    assert status == 400 and data["error"]["code"] == "context_length_exceeded"


def beside_chat():
    """embeddings and a stream at the same time"""
    stream = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hi"}], stream=True,
                                            max_tokens=40, extra_body={"ignore_eos": True})
    got = client.embeddings.create(model=model, input=["a longer text about a boat. " * 20] * 8)
    assert len(got.data) == 8
    assert sum(1 for c in stream if c.choices and c.choices[0].delta.content) > 1


def encoder(name, how, *args):
    path, expected = golden(name)
    os.environ["NARU_E2E_MODEL"] = path
    import serve
    serve.MODEL = path
    with Server("--name", "enc", *args) as s:
        c = connect(s)
        got = c.embeddings.create(model="enc", input=[t["ids"] for t in expected["texts"]])
        for have, want in zip(got.data, expected["texts"]):
            assert max(abs(a - b) for a, b in zip(have.embedding, want[how])) < 2e-5
        status, _, data = s.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]})
        assert status == 400 and "embeddings" in data["error"]["message"]
        text = c.embeddings.create(model="enc", input="hello world")
        assert max(abs(a - b) for a, b in zip(text.data[0].embedding, expected["texts"][0][how])) < 2e-5
        s.stop()


def bert():
    """a BERT file: its own pooling, words by WordPiece; it refuses to chat"""
    encoder("bert", "cls")


def nomic():
    """a Nomic BERT file, with the pooling of the file and with another"""
    encoder("nomic-bert", "mean")
    encoder("nomic-bert", "last", "--pooling", "last")


with server:
    run_tests([both_encodings, inputs, dimensions, errors, beside_chat, bert, nomic])
