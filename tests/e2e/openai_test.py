"""The official Python client against the real server: what it does every day must work unchanged."""

import openai

from serve import PATIENCE, Server, run_tests

server = Server("--seqs", "8")
client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=PATIENCE)
model = client.models.list().data[0].id
HI = [{"role": "user", "content": "Tell me a story about a cat."}]


def expect(error, **request):
    """The call must fail with that class; returns the exception."""
    try:
        client.chat.completions.create(**{"model": model, "messages": HI, "max_tokens": 4, **request})
    except error as e:
        return e
    raise AssertionError(f"no {error.__name__} for {request}")


def models():
    """models.list and models.retrieve"""
    listed = client.models.list().data
    assert len(listed) == 1 and listed[0].object == "model" and listed[0].created > 0
    assert client.models.retrieve(model).id == model
    try:
        client.models.retrieve("no-such-model")
        raise AssertionError("found")
    except openai.NotFoundError as e:
        assert e.code == "model_not_found"


def chat():
    """chat.completions.create: text, usage, finish reason, request id"""
    r = client.chat.completions.create(model=model, messages=HI, max_tokens=16, temperature=0)
    assert r._request_id and r.id.startswith("chatcmpl-") and r.object == "chat.completion"
    assert r.choices[0].message.role == "assistant" and r.choices[0].message.content
    assert r.choices[0].finish_reason in ("stop", "length")
    assert r.usage.total_tokens == r.usage.prompt_tokens + r.usage.completion_tokens
    assert r.usage.completion_tokens <= 16 and len(r.system_fingerprint) == 16
    assert r.usage.prompt_tokens_details.cached_tokens >= 0


def stream_equals_whole():
    """a stream says the same as the whole answer, in the order of A-26"""
    ask = dict(model=model, messages=HI, max_tokens=40, temperature=0)
    whole = client.chat.completions.create(**ask)
    chunks = list(client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant" and chunks[0].choices[0].delta.content == ""
    assert len({(c.id, c.created, c.model) for c in chunks}) == 1
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert all(c.usage is None for c in chunks[:-1])
    last = chunks[-2].choices[0]
    assert last.finish_reason == whole.choices[0].finish_reason and last.delta.content is None


def choices():
    """n choices: the first is the one a single request gets, the others differ by seed"""
    ask = dict(model=model, messages=HI, max_tokens=12, temperature=1, seed=7)
    one = client.chat.completions.create(**ask).choices[0].message.content
    many = client.chat.completions.create(**ask, n=3)
    assert [c.index for c in many.choices] == [0, 1, 2]
    assert many.choices[0].message.content == one
    texts = {}
    for chunk in client.chat.completions.create(**ask, n=3, stream=True):
        for c in chunk.choices:
            texts[c.index] = texts.get(c.index, "") + (c.delta.content or "")
    assert [texts[i] for i in range(3)] == [c.message.content for c in many.choices]


def seeds():
    """the same seed gives the same text"""
    ask = dict(model=model, messages=HI, max_tokens=24, temperature=1.2)
    texts = [client.chat.completions.create(**ask, seed=s).choices[0].message.content for s in (1, 1, 2, 3)]
    assert texts[0] == texts[1] and len(set(texts)) > 1


def logprobs():
    """logprobs: the tokens are the text, the chosen one is listed, sums stay below one"""
    import math
    r = client.chat.completions.create(model=model, messages=HI, max_tokens=8, temperature=0, logprobs=True,
                                       top_logprobs=5)
    content = r.choices[0].logprobs.content
    assert len(content) == r.usage.completion_tokens
    for t in content:
        assert sum(math.exp(x.logprob) for x in t.top_logprobs) <= 1.001
        assert t.token == t.top_logprobs[0].token and len(t.top_logprobs) == 5     # greedy
    text = bytes(b for t in content for b in t.bytes).decode("utf-8", "replace")
    assert text.strip() == r.choices[0].message.content.strip()


def stop_strings():
    """a stop string never shows, in text or log probabilities, whole or streamed"""
    ask = dict(model=model, messages=HI, max_tokens=60, temperature=0)
    text = client.chat.completions.create(**ask).choices[0].message.content
    for cut in (5, 11, 18):
        stop = text[cut:cut + 4]
        want = text[:text.index(stop)]
        r = client.chat.completions.create(**ask, stop=[stop], logprobs=True)
        assert r.choices[0].message.content == want and r.choices[0].finish_reason == "stop"
        shown = "".join(t.token for t in r.choices[0].logprobs.content)
        assert stop not in shown, (stop, shown)
        parts = [c.choices[0].delta.content or "" for c in client.chat.completions.create(**ask, stop=stop, stream=True)]
        assert "".join(parts) == want


def completions():
    """completions: text, ids, several prompts, echo, logprobs"""
    ask = dict(model=model, max_tokens=6, temperature=0)
    r = client.completions.create(prompt="Once upon a time", **ask)
    assert r.object == "text_completion" and r.choices[0].text
    both = client.completions.create(prompt=["Once upon a time", "The dog"], n=2, **ask)
    assert [c.index for c in both.choices] == [0, 1, 2, 3] and both.choices[0].text == r.choices[0].text
    echo = client.completions.create(prompt="Once upon a time", echo=True, **ask)
    assert echo.choices[0].text == "Once upon a time" + r.choices[0].text
    ids = server.post("/tokenize", {"prompt": "Once upon a time"})[2]["tokens"]
    assert client.completions.create(prompt=ids, **ask).choices[0].text == r.choices[0].text
    lp = client.completions.create(prompt="Once upon a time", logprobs=3, **ask).choices[0].logprobs
    assert len(lp.tokens) == len(lp.token_logprobs) == len(lp.top_logprobs) == len(lp.text_offset) == 6
    streamed = "".join(c.choices[0].text for c in client.completions.create(prompt="Once upon a time", stream=True, **ask))
    assert streamed == r.choices[0].text


def bias_and_ids():
    """logit_bias forbids a token, stop_token_ids end, return_token_ids tell"""
    ask = dict(model=model, prompt="Once upon a time", max_tokens=6, temperature=0)
    first = client.completions.create(**ask, extra_body={"return_token_ids": True}).choices[0]
    ids = first.token_ids
    assert len(ids) == 6
    other = client.completions.create(**ask, logit_bias={str(ids[0]): -100}, extra_body={"return_token_ids": True})
    assert ids[0] not in other.choices[0].token_ids
    short = client.completions.create(**ask, extra_body={"stop_token_ids": [ids[3]], "return_token_ids": True})
    assert short.choices[0].token_ids == ids[:ids.index(ids[3])] and short.choices[0].finish_reason == "stop"


def errors():
    """error classes carry param and code"""
    assert expect(openai.BadRequestError, temperature=3).param == "temperature"
    assert expect(openai.BadRequestError, messages=[{"role": "user", "content": 3}]).param == "messages[0].content"
    assert expect(openai.BadRequestError, messages=[]).param == "messages"
    assert expect(openai.NotFoundError, model="gpt-99").code == "model_not_found"
    assert expect(openai.BadRequestError, response_format={"type": "xml"}).param == "response_format.type"
    e = expect(openai.BadRequestError, messages=[{"role": "user", "content": "word " * 40000}])
    assert e.code == "context_length_exceeded" and any(ch.isdigit() for ch in e.message)


def break_cancels():
    """leaving a stream cancels the request at the server"""
    before = server.log_text().count(" 499 ")
    stream = client.chat.completions.create(model=model, messages=HI, stream=True, extra_body={"ignore_eos": True})
    for i, _ in enumerate(stream):
        if i == 3:
            break
    stream.close()
    client.close()
    server.await_log(" 499 ", before + 1)


def cached_prefix():
    """the second turn finds the first one's prefix"""
    long = [{"role": "user", "content": "Here is a long sentence about a small boat on a wide river. " * 6}]
    c = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=PATIENCE)
    ask = dict(model=model, messages=long, max_tokens=2, temperature=0)
    c.chat.completions.create(**ask)
    assert c.chat.completions.create(**ask).usage.prompt_tokens_details.cached_tokens >= 16


def clean_end():
    """SIGTERM ends the server with status 0"""
    server.stop()


with server:
    run_tests([models, chat, stream_equals_whole, choices, seeds, logprobs, stop_strings, completions, bias_and_ids,
               errors, cached_prefix, break_cancels, clean_end])
