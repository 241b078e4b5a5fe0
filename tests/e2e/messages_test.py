"""The Messages API through the official Python client `anthropic` (C4, A-44, A-14)."""

import json

import anthropic
import openai

from serve import PATIENCE, Server, run_tests

server = Server("--seqs", "8")
client = anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0, timeout=PATIENCE)
chat = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=PATIENCE)
model = chat.models.list().data[0].id
HI = [{"role": "user", "content": "Tell me a story about a cat."}]
ASK = dict(model=model, messages=HI, max_tokens=24, extra_body={"temperature": 0})


def expect(error, **request):
    try:
        client.messages.create(**{**ASK, **request})
    except error as e:
        return e
    raise AssertionError(f"no {error.__name__} for {request}")


def create():
    """create: content blocks, stop reason, usage, request id"""
    m = client.messages.create(**ASK)
    assert m.id.startswith("msg_") and m.type == "message" and m.role == "assistant" and m.model == model
    assert [b.type for b in m.content] == ["text"] and m.content[0].text
    assert m.stop_reason in ("end_turn", "max_tokens") and m.stop_sequence is None
    assert m.usage.output_tokens <= 24 and m._request_id
    assert m.usage.input_tokens + m.usage.cache_read_input_tokens > 0


def same_as_chat():
    """system and blocks give the text that a chat completion of the same conversation gives"""
    turns = [{"role": "user", "content": "Tell me a story."}, {"role": "assistant", "content": "No."},
             {"role": "user", "content": [{"type": "text", "text": "Please.", "cache_control": {"type": "ephemeral"}}]}]
    want = chat.chat.completions.create(
        model=model, max_tokens=24, temperature=0,
        messages=[{"role": "system", "content": "Be kind."}, *turns[:2], {"role": "user", "content": "Please."}])
    for system in ("Be kind.", [{"type": "text", "text": "Be kind."}]):
        m = client.messages.create(**{**ASK, "messages": turns}, system=system)
        assert m.content[0].text == want.choices[0].message.content
        assert m.usage.input_tokens + m.usage.cache_read_input_tokens == want.usage.prompt_tokens


def stream():
    """a stream: events in their order, the same text, a final message"""
    whole = client.messages.create(**ASK)
    types, text = [], ""
    with client.messages.stream(**ASK) as s:
        for e in s:
            types.append(e.type)
            text += e.delta.text if e.type == "content_block_delta" else ""
        final = s.get_final_message()
    types = [t for t in types if t not in ("text", "content_block_delta")]
    assert types == ["message_start", "content_block_start", "content_block_stop", "message_delta",
                     "message_stop"], types
    assert text == whole.content[0].text == final.content[0].text
    assert final.stop_reason == whole.stop_reason and final.usage.output_tokens == whole.usage.output_tokens


def stop_sequence():
    """a stop sequence ends it and is named"""
    text = client.messages.create(**ASK).content[0].text
    stop = text[9:13]
    m = client.messages.create(**ASK, stop_sequences=["\x01", stop])
    assert m.stop_reason == "stop_sequence" and m.stop_sequence == stop
    assert m.content[0].text == text[:text.index(stop)]
    raw = list(client.messages.create(**ASK, stop_sequences=[stop], stream=True))
    delta = [e for e in raw if e.type == "message_delta"][0]
    assert delta.delta.stop_reason == "stop_sequence" and delta.delta.stop_sequence == stop


def prefill():
    """a last message of the assistant is gone on with"""
    text = client.messages.create(**ASK).content[0].text
    begun = HI + [{"role": "assistant", "content": text[:text.index(" ", 8)]}]
    m = client.messages.create(**{**ASK, "messages": begun})
    assert not m.content[0].text.startswith(text[:8]) and m.content[0].text


def counts():
    """count_tokens tells what create reads"""
    n = client.messages.count_tokens(model=model, messages=HI, system="Be kind.").input_tokens
    u = client.messages.create(**ASK, system="Be kind.").usage
    assert n == u.input_tokens + u.cache_read_input_tokens


def errors():
    """error classes, their bodies, and where the fault is"""
    e = expect(anthropic.BadRequestError, extra_body={"temperature": 2})
    assert e.body["type"] == "error" and e.body["error"]["type"] == "invalid_request_error"
    assert "temperature" in e.message and e.body["request_id"] == e.request_id
    assert expect(anthropic.NotFoundError, model="claude").body["error"]["type"] == "not_found_error"
    for wrong, where in (([{"role": "system", "content": "x"}], "messages[0].role"),
                         ([{"role": "user", "content": [{"type": "image", "source": {}}]}], "messages[0].content[0].type"),
                         ([{"role": "user", "content": 3}], "messages[0].content"), ([], "messages"),
                         ([{"role": "user", "content": [{"type": "tool_result"}]}], "messages[0].content[0].tool_use_id")):
        assert where in expect(anthropic.BadRequestError, messages=wrong).message
    assert "tools[0].type" in expect(anthropic.BadRequestError, tools=[{"type": "bash_20250124", "name": "bash"}]).message
    status, head, data = server.request("POST", "/v1/messages", {"model": model, "messages": HI})
    assert status == 400 and "max_tokens" in json.loads(data)["error"]["message"]
    status, _, data = server.request("POST", "/v1/messages", b"{")
    assert status == 400 and json.loads(data)["type"] == "error"
    status, _, data = server.request("GET", "/v1/messages")
    assert status == 405 and json.loads(data)["type"] == "error"


TOOLS = [{"name": "get_weather", "description": "The weather", "input_schema": {
    "type": "object", "properties": {"city": {"enum": ["Seoul", "Busan"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["city", "days"], "additionalProperties": False}}, {"name": "stop", "input_schema": {"type": "object", "properties": {}}}]


def tools():
    """tools: a forced call, the same streamed, its result given back, what is wrong named"""
    ask = dict(model=model, messages=HI, max_tokens=200, tools=TOOLS, extra_body={"seed": 5, "temperature": 0})
    for choice in ({"type": "tool", "name": "get_weather"}, {"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True}):
        m = client.messages.create(**ask, tool_choice=choice)
        call, = m.content
        assert m.stop_reason == "tool_use" and call.type == "tool_use" and call.id.startswith("toolu_"), m
        assert call.name == "get_weather" and set(call.input) == {"city", "days"} and 1 <= call.input["days"] <= 9, call
        with client.messages.stream(**ask, tool_choice=choice) as s:
            kinds = [(e.type, getattr(getattr(e, "delta", None), "type", None)) for e in s]
            final = s.get_final_message()
        assert ("content_block_delta", "input_json_delta") in kinds and final.stop_reason == "tool_use"
        assert [(b.name, b.input) for b in final.content] == [(call.name, call.input)]
    turns = HI + [{"role": "assistant", "content": [b.model_dump(include={"type", "id", "name", "input"}) for b in m.content]},
                  {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "20 degrees"}]}]
    again = client.messages.create(**{**ask, "messages": turns, "max_tokens": 8})
    assert again.stop_reason in ("end_turn", "max_tokens") and again.usage.cache_read_input_tokens > 100
    assert client.messages.create(**ask, tool_choice={"type": "any"}).content[0].type == "tool_use"
    n = client.messages.count_tokens(model=model, messages=HI, tools=TOOLS).input_tokens
    assert n == m.usage.input_tokens + m.usage.cache_read_input_tokens
    assert "tools[0]" in expect(anthropic.BadRequestError, tools=[{"name": "a b", "input_schema": {}}]).message
    assert "tool_choice" in expect(anthropic.BadRequestError, tools=TOOLS, tool_choice={"type": "tool", "name": "x"}).message


with server:
    run_tests([create, same_as_chat, stream, stop_sequence, prefill, counts, tools, errors])
