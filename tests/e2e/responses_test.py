"""The Responses API through the official Python client: create, stream, go on, read again, delete (A-43)."""

import openai

from serve import PATIENCE, Server, run_tests

server = Server("--seqs", "8", "--responses", "4")
client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=PATIENCE)
model = client.models.list().data[0].id
ASK = dict(model=model, input="Tell me a story about a cat.", max_output_tokens=24, temperature=0)


def expect(error, **request):
    try:
        client.responses.create(**{**ASK, **request})
    except error as e:
        return e
    raise AssertionError(f"no {error.__name__} for {request}")


def create():
    """create: an object with one message, usage, and the settings told back"""
    r = client.responses.create(**ASK, instructions="Be kind.", metadata={"a": "b"}, top_p=0.5)
    assert r.id.startswith("resp_") and r.object == "response" and r.created_at > 0
    assert r.status in ("completed", "incomplete") and r.error is None
    assert r.status == "completed" or r.incomplete_details.reason == "max_output_tokens"
    assert [item.type for item in r.output] == ["message"] and r.output[0].role == "assistant"
    assert r.output_text and r.output[0].content[0].text == r.output_text
    assert r.usage.input_tokens > 0 and r.usage.total_tokens == r.usage.input_tokens + r.usage.output_tokens
    assert r.instructions == "Be kind." and r.metadata == {"a": "b"} and r.top_p == 0.5 and r.temperature == 0
    assert r.tool_choice == "auto" and r.tools == [] and r.text.format.type == "text" and r.truncation == "disabled"


def same_as_chat():
    """the same conversation gives the same text as a chat completion"""
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Tell me a story."},
                {"role": "assistant", "content": "No."}, {"role": "user", "content": "Please."}]
    chat = client.chat.completions.create(model=model, messages=messages, max_tokens=24, temperature=0)
    items = [{"role": "user", "content": [{"type": "input_text", "text": "Tell me a story."}]},
             {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "No."}]},
             {"role": "user", "content": "Please."}]
    r = client.responses.create(**{**ASK, "input": items}, instructions="Be kind.")
    assert r.output_text == chat.choices[0].message.content
    assert r.usage.input_tokens == chat.usage.prompt_tokens


def stream():
    """a stream: the events in their order, rising numbers, the text of the whole answer"""
    whole = client.responses.create(**ASK)
    events = list(client.responses.create(**ASK, stream=True))
    assert [e.sequence_number for e in events] == list(range(len(events)))
    types = [e.type for e in events]
    deltas = [e for e in events if e.type == "response.output_text.delta"]
    assert "".join(e.delta for e in deltas) == whole.output_text
    rest = [t for t in types if t != "response.output_text.delta"]
    end = "response.completed" if whole.status == "completed" else "response.incomplete"
    assert rest == ["response.created", "response.in_progress", "response.output_item.added",
                    "response.content_part.added", "response.output_text.done", "response.content_part.done",
                    "response.output_item.done", end], rest
    last = events[-1].response
    assert last.output_text == whole.output_text and last.usage.output_tokens == whole.usage.output_tokens
    assert last.id == events[0].response.id and events[0].response.status == "in_progress"
    assert {e.item_id for e in deltas} == {last.output[0].id}


def stream_helper():
    """the client's stream helper gathers the final response"""
    ask = {k: v for k, v in ASK.items() if k != "max_output_tokens"}    # so that it completes
    with client.responses.stream(**ask) as s:
        text = "".join(e.delta for e in s if e.type == "response.output_text.delta")
        assert s.get_final_response().output_text == text


def logprobs():
    """log probabilities when asked for, whole and streamed"""
    r = client.responses.create(**ASK, include=["message.output_text.logprobs"], top_logprobs=2)
    lp = r.output[0].content[0].logprobs
    assert len(lp) == r.usage.output_tokens and len(lp[0].top_logprobs) == 2
    assert bytes(b for t in lp for b in t.bytes).decode().strip() == r.output_text.strip()
    deltas = [e for e in client.responses.create(**ASK, top_logprobs=1, stream=True)
              if e.type == "response.output_text.delta"]
    assert all(t.top_logprobs for e in deltas for t in e.logprobs)


def goes_on():
    """previous_response_id: the same as sending the conversation again, instructions left out"""
    first = client.responses.create(**ASK, instructions="Say nothing.")
    again = client.responses.create(**{**ASK, "input": "And then?"}, previous_response_id=first.id)
    items = [{"role": "user", "content": ASK["input"]}, {"role": "assistant", "content": first.output_text},
             {"role": "user", "content": "And then?"}]
    sent = client.responses.create(**{**ASK, "input": items})
    assert again.output_text == sent.output_text and again.usage.input_tokens == sent.usage.input_tokens
    assert again.previous_response_id == first.id
    third = client.responses.create(**{**ASK, "input": "Why?"}, previous_response_id=again.id)
    assert third.usage.input_tokens > again.usage.input_tokens


def kept():
    """retrieve, input items, delete; store false is not kept; the oldest leaves first"""
    streamed = list(client.responses.create(**ASK, stream=True))[-1].response
    assert client.responses.retrieve(streamed.id).output_text == streamed.output_text
    whole = client.responses.create(**ASK)
    assert client.responses.retrieve(whole.id).model_dump() == whole.model_dump()
    items = client.responses.input_items.list(whole.id).data
    assert len(items) == 1 and items[0].content[0].text == ASK["input"]
    client.responses.delete(whole.id)
    unkept = client.responses.create(**ASK, store=False)
    oldest = client.responses.create(**ASK)
    for _ in range(4):
        client.responses.create(**ASK)
    for gone in (whole.id, unkept.id, oldest.id, "resp_0"):
        try:
            client.responses.retrieve(gone)
            raise AssertionError("found")
        except openai.NotFoundError:
            pass
    assert expect(openai.NotFoundError, previous_response_id=oldest.id).param == "previous_response_id"


def counts():
    """input_tokens tells what create will read"""
    n = server.post("/v1/responses/input_tokens", {"model": model, "input": ASK["input"]})
    assert n[0] == 200 and n[2]["object"] == "response.input_tokens"
    assert n[2]["input_tokens"] == client.responses.create(**ASK).usage.input_tokens


def refusals():
    """what cannot be done is refused by name, with the path"""
    assert expect(openai.BadRequestError, background=True).param == "background"
    assert expect(openai.BadRequestError, conversation="c1").param == "conversation"
    assert expect(openai.BadRequestError, truncation="auto").param == "truncation"
    assert expect(openai.BadRequestError, input=[]).param == "input"
    assert expect(openai.BadRequestError, input=[{"role": "nobody", "content": "x"}]).param == "input[0].role"
    image = [{"role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]}]
    assert expect(openai.BadRequestError, input=image).param == "input[0].content[0].type"
    assert expect(openai.BadRequestError, input=[{"type": "item_reference", "id": "x"}]).param == "input[0].type"
    assert expect(openai.BadRequestError, tools=[{"type": "web_search"}]).param == "tools[0].type"
    assert expect(openai.BadRequestError, max_output_tokens=0).param == "max_output_tokens"
    assert expect(openai.BadRequestError, temperature=3).param == "temperature"
    assert expect(openai.NotFoundError, model="gpt-99").code == "model_not_found"
    assert expect(openai.BadRequestError, input="word " * 40000).code == "context_length_exceeded"


with server:
    run_tests([create, same_as_chat, stream, stream_helper, logprobs, goes_on, kept, counts, refusals])
