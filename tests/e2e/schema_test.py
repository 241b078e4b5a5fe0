"""Requests and answers against the published OpenAPI description (shared/oracles/openai-api), and every case of
JSONTestSuite through the request parser (shared/oracles/json-parse). Skipped by name where the folder is absent."""
import io
import json
import lzma
import os
import tarfile

import jsonschema

from serve import Server, events, run_tests

SHARED = os.environ.get("NARU_SHARED")
server = Server("--seqs", "8")
MODEL = json.loads(server.request("GET", "/v1/models")[2])["data"][0]["id"]
HI = [{"role": "user", "content": "Tell me a story about a cat."}]
SPEC = json.load(lzma.open(os.path.join(SHARED, "oracles/openai-api/openapi-subset.json.xz"))) if SHARED else None


def loosen(node):
    """OpenAPI 3.0's `nullable` in the words of JSON Schema."""
    if isinstance(node, list):
        return [loosen(x) for x in node]
    if not isinstance(node, dict):
        return node
    node = {k: loosen(v) for k, v in node.items() if k not in ("discriminator", "example")}
    if node.pop("nullable", False):
        return {"anyOf": [node, {"type": "null"}]}
    return node


ROOT = loosen(SPEC) if SPEC else {}


def fits(name, value):
    """The value is what the description calls `name`."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": ROOT["components"]}
    errors = sorted(jsonschema.Draft202012Validator(schema).iter_errors(value), key=lambda e: len(str(e.path)))
    assert not errors, (name, [(list(e.path), e.message[:300]) for e in errors[:3]])


def post(path, request_name, body):
    fits(request_name, body)
    status, _, data = server.request("POST", path, body)
    assert status == 200, data
    return data


def chat():
    """chat completions: request, answer, every chunk"""
    body = {"model": MODEL, "messages": HI, "max_completion_tokens": 8, "temperature": 0, "n": 2, "logprobs": True,
            "top_logprobs": 2, "seed": 1, "stop": ["zzz"], "presence_penalty": 0.5, "user": "u", "metadata": {"a": "b"}}
    fits("CreateChatCompletionResponse", json.loads(post("/v1/chat/completions", "CreateChatCompletionRequest", body)))
    body.update(stream=True, stream_options={"include_usage": True})
    chunks = events(post("/v1/chat/completions", "CreateChatCompletionRequest", body))
    assert chunks.pop() == "[DONE]" and len(chunks) > 4
    for chunk in chunks:
        fits("CreateChatCompletionStreamResponse", json.loads(chunk))


def completions():
    """completions: request and answer, whole and streamed"""
    body = {"model": MODEL, "prompt": ["Once", "upon"], "max_tokens": 6, "logprobs": 2, "temperature": 0, "best_of": 1}
    fits("CreateCompletionResponse", json.loads(post("/v1/completions", "CreateCompletionRequest", body)))
    for chunk in events(post("/v1/completions", "CreateCompletionRequest", {**body, "stream": True}))[:-1]:
        chunk = json.loads(chunk)
        for choice in chunk["choices"]:         # null before the end, as the original does; the description forgot it
            choice["finish_reason"] = choice["finish_reason"] or "stop"
        fits("CreateCompletionResponse", chunk)


def embeddings_and_models():
    """embeddings and models"""
    body = {"model": MODEL, "input": ["a", "b"], "dimensions": 8, "encoding_format": "float"}
    fits("CreateEmbeddingResponse", json.loads(post("/v1/embeddings", "CreateEmbeddingRequest", body)))
    fits("ListModelsResponse", json.loads(server.request("GET", "/v1/models")[2]))
    fits("Model", json.loads(server.request("GET", "/v1/models/" + MODEL)[2]))


def responses():
    """responses: request, answer, every event, what is kept, input items, deletion"""
    body = {"model": MODEL, "input": "Tell me a story.", "max_output_tokens": 16, "temperature": 0,
            "include": ["message.output_text.logprobs"], "top_logprobs": 2, "metadata": {"a": "b"}, "instructions": "Be kind."}
    answer = json.loads(post("/v1/responses", "CreateResponse", body))
    fits("Response", answer)
    items = [{"role": "user", "content": "Hi"}, *answer["output"], {"role": "user", "content": [{"type": "input_text", "text": "Go on"}]}]
    again = server.post("/v1/responses", {**body, "input": items})  # an answer's items are input (the description's oneOf fits twice)
    assert again[0] == 200
    fits("Response", again[2])
    stream = post("/v1/responses", "CreateResponse", {**body, "stream": True}).decode()
    parts = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: ")]
    assert len(parts) > 8
    for event in parts:
        fits("ResponseStreamEvent", event)
    fits("Response", json.loads(server.request("GET", "/v1/responses/" + answer["id"])[2]))
    fits("ResponseItemList", json.loads(server.request("GET", f"/v1/responses/{answer['id']}/input_items")[2]))
    assert json.loads(server.request("DELETE", "/v1/responses/" + answer["id"])[2])["deleted"] is True


def errors():
    """errors have the described form"""
    for path, body in (("/v1/chat/completions", {}), ("/v1/completions", {"prompt": 3}), ("/v1/embeddings", {}), ("/v1/responses", {})):
        status, _, data = server.request("POST", path, body)
        assert status == 400
        fits("ErrorResponse", json.loads(data))


def json_suite():
    """JSONTestSuite: y_ reach the field check, n_ are 400 as malformed, none does harm"""
    n = {"y": 0, "n": 0, "i": 0}
    with tarfile.open(fileobj=io.BytesIO(lzma.open(os.path.join(SHARED, "oracles/json-parse/jsontestsuite.tar.xz")).read())) as tar:
        for member in tar:
            name = os.path.basename(member.name)
            if name[:2] not in ("y_", "n_", "i_"):
                continue
            text = tar.extractfile(member).read()
            status, _, data = server.request("POST", "/v1/completions", b'{"prompt":"a","max_tokens":1,"unknown":' + text + b"}")
            assert status in (200, 400), (name, status, data)
            # Duplicate keys are refused on purpose (F-41): a gateway may read the other one.
            if name[0] == "y" and "duplicated" not in name:
                assert status == 200, (name, data)
            if name[0] == "n" and name not in INSIDE:
                assert status == 400 and json.loads(data)["error"]["code"] in ("invalid_value", "limit_exceeded"), (name, data)
            n[name[0]] += 1
    assert n["y"] > 50 and n["n"] > 80, n
    print(f"# {n['y']} y_, {n['n']} n_, {n['i']} i_ cases")


# Not JSON by themselves, yet a value and more once they stand inside of an object.
INSIDE = ()

with server:
    if SHARED:
        run_tests([chat, completions, embeddings_and_models, responses, errors, json_suite])
    else:
        print("ok 1 - the published description of the API # SKIP no NARU_SHARED")
