"""Tool calls through the official client: forced, streamed, in a conversation of three turns; what is wrong is named."""
import json

import openai

from serve import PATIENCE, Server, run_tests

server = Server("--seqs", "8")
client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=PATIENCE)
model = client.models.list().data[0].id
HI = [{"role": "user", "content": "What is the weather in Seoul?"}]
WEATHER = {
    "name": "get_weather", "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {
        "city": {"$ref": "#/$defs/city"}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
        "required": ["city", "days"], "additionalProperties": False, "$defs": {"city": {"enum": ["Seoul", "Busan"]}}},
}
TOOLS = [{"type": "function", "function": WEATHER}, {"type": "function", "function": {"name": "stop-all"}}]
NAMED = {"type": "function", "function": {"name": "get_weather"}}


def ask(**fields):
    return client.chat.completions.create(**{"model": model, "messages": HI, "max_tokens": 200, "tools": TOOLS, **fields})


def check(name, arguments):
    args = json.loads(arguments)
    if name == "stop-all":
        assert args == {}, args
    else:
        assert name == "get_weather" and set(args) == {"city", "days"} and args["city"] in ("Seoul", "Busan"), (name, args)
        assert type(args["days"]) is int and 1 <= args["days"] <= 9, args


def forced():
    """tool_choice required and named: one call, its arguments as the schema has them"""
    seen, ids = set(), set()
    for seed in range(12):
        for choice in ("required", NAMED):
            c = ask(tool_choice=choice, seed=seed, temperature=2).choices[0]
            assert c.finish_reason == "tool_calls" and c.message.content is None, c
            call, = c.message.tool_calls
            assert call.type == "function" and call.id.startswith("call_")
            check(call.function.name, call.function.arguments)
            assert choice == "required" or call.function.name == "get_weather"
            seen.add(call.function.name)
            ids.add(call.id)
    assert len(ids) == 24 and "get_weather" in seen, seen
    n = ask(tool_choice="required", n=3)
    assert len({c.message.tool_calls[0].id for c in n.choices}) == 3


def streamed():
    """a stream: role, then id and name, then pieces of arguments; joined it is the whole answer"""
    for more in ({}, {"parallel_tool_calls": False}):
        fields = dict(tool_choice=NAMED, seed=7, temperature=1, **more)
        whole = ask(**fields)
        name, args, finish, usage, parts = None, "", None, None, 0
        for chunk in ask(**fields, stream=True, stream_options={"include_usage": True}):
            usage = chunk.usage or usage
            for c in chunk.choices:
                assert not c.delta.content, c
                finish = c.finish_reason or finish
                for piece in c.delta.tool_calls or []:
                    assert piece.index == 0 and (piece.id is None) == (name is not None)
                    name = piece.function.name or name
                    args += piece.function.arguments or ""
                    parts += 1
        call = whole.choices[0].message.tool_calls[0]
        assert (name, args, finish) == (call.function.name, call.function.arguments, "tool_calls")
        assert parts > 2 and usage.prompt_tokens == whole.usage.prompt_tokens
        check(name, args)


def auto():
    """auto and none answer in text; none does not show the tools"""
    with_tools = ask(seed=1, max_tokens=8)
    without = ask(seed=1, max_tokens=8, tool_choice="none")
    assert with_tools.choices[0].message.content and without.choices[0].message.content
    assert with_tools.usage.prompt_tokens > without.usage.prompt_tokens + 50


def conversation():
    """three turns with calls and results: the earlier prompt is not computed again"""
    messages, before = list(HI), None
    for turn in range(3):
        r = ask(messages=messages, tool_choice=NAMED, seed=turn, temperature=1)
        call, = r.choices[0].message.tool_calls
        check(call.function.name, call.function.arguments)
        cached = r.usage.prompt_tokens_details.cached_tokens
        print(f"# turn {turn + 1}: prompt {r.usage.prompt_tokens}, cached {cached}, turn before: {before}")
        if before is not None:
            # whole blocks of what was asked; what the model was made to write may be cut into other tokens
            assert cached > before[0] - 16, (cached, before)
        before = (r.usage.prompt_tokens, r.usage.total_tokens)
        messages += [r.choices[0].message.model_dump(exclude_none=True),
                     {"role": "tool", "tool_call_id": call.id, "content": f"{turn + 20} degrees, sunny"}]
    assert ask(messages=messages, max_tokens=4).choices[0].message.content is not None


def errors():
    """what is wrong is 400 and named"""
    function = "tools[0].function"
    for fields, param in (
            ({"tools": {"a": 1}}, "tools"),
            ({"tools": [3]}, "tools[0]"),
            ({"tools": [{"type": "retrieval"}]}, "tools[0].type"),
            ({"tools": [{"type": "function"}]}, function),
            ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, function + ".name"),
            ({"tools": TOOLS + TOOLS}, "tools[2].function.name"),
            ({"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]}, function + ".parameters"),
            ({"tools": [{"type": "function", "function": {"name": f"f{i}"}} for i in range(129)]}, "tools"),
            ({"tool_choice": "always"}, "tool_choice"),
            ({"tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice.function.name"),
            ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice.type"),
            ({"tools": [], "tool_choice": "required"}, "tool_choice"),
            ({"parallel_tool_calls": 1}, "parallel_tool_calls"),
            ({"response_format": {"type": "json_object"}}, "tools"),
            ({"messages": HI + [{"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f"}}]}]},
             "messages[1].tool_calls[0].function.arguments"),
            ({"messages": [{"role": "user", "content": "a", "tool_calls": [{}]}]}, "messages[0].tool_calls"),
            ({"tool_choice": "required", "tools": TOOLS + [{"type": "function", "function": {"name": "f", "parameters": {
                "properties": {"a": {"not": {}}}}}}]}, "tools[2].function.parameters.properties.a.not")):
        status, _, body = server.post("/v1/chat/completions", {"messages": HI, "max_tokens": 4, "tools": TOOLS, **fields})
        assert status == 400 and body["error"]["param"] == param, (fields, status, body)
        assert param.split(".")[0].split("[")[0] in body["error"]["message"] or "schema" in body["error"]["message"], body


def parser_option():
    """--tool-parser: another form is written and read; none refuses tools; unknown names do not start"""
    for name in ("llama", "mistral"):
        with Server("--tool-parser", name) as s:
            body = {"messages": HI, "max_tokens": 200, "tools": TOOLS, "tool_choice": NAMED, "seed": 3}
            status, _, answer = s.post("/v1/chat/completions", body)
            assert status == 200 and answer["choices"][0]["finish_reason"] == "tool_calls", answer
            call, = answer["choices"][0]["message"]["tool_calls"]
            check(call["function"]["name"], call["function"]["arguments"])
            s.stop()
    for name, param in (("none", "tools"), ("harmony", "tool_choice")):
        with Server("--tool-parser", name) as s:
            status, _, answer = s.post("/v1/chat/completions", {"messages": HI, "tools": TOOLS, "tool_choice": "required"})
            assert status == 400 and answer["error"]["param"] == param, answer
            s.stop()
    try:
        Server("--tool-parser", "xml")
        raise AssertionError("started")
    except RuntimeError as e:
        assert "--tool-parser xml: must be" in str(e), e


def clean_end():
    """SIGTERM ends the server with status 0"""
    server.stop()


with server:
    run_tests([forced, streamed, auto, conversation, errors, parser_option, clean_end])
