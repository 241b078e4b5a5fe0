"""What people build on the clients: langchain-openai (C2) and litellm as a library (C3), unchanged against the server."""
import os

os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_TELEMETRY="False", LANGCHAIN_TRACING_V2="false")

import litellm                                                     # noqa: E402
from langchain_openai import ChatOpenAI, OpenAIEmbeddings          # noqa: E402

from serve import PATIENCE, Server, run_tests                      # noqa: E402

litellm.telemetry = False
litellm.suppress_debug_info = True
server = Server("--seqs", "8", "--name", "naru-test")
BASE = server.url + "/v1"
HI = [{"role": "user", "content": "Tell me a story about a cat."}]


def model(**more):
    return ChatOpenAI(model="naru-test", base_url=BASE, api_key="none", temperature=0, max_tokens=16, max_retries=0,
                      timeout=PATIENCE, **more)


def langchain_invoke():
    """langchain: invoke, with usage and finish reason"""
    m = model().invoke([("system", "Be kind."), ("user", "Tell me a story.")])
    assert m.content and m.usage_metadata["total_tokens"] == m.usage_metadata["input_tokens"] + m.usage_metadata["output_tokens"]
    assert m.response_metadata["finish_reason"] in ("stop", "length") and m.response_metadata["model_name"] == "naru-test"


def langchain_stream():
    """langchain: a stream gives the same text, and usage at its end"""
    whole = model().invoke("Tell me a story.")
    parts = list(model(stream_usage=True).stream("Tell me a story."))
    assert "".join(p.content for p in parts) == whole.content and len(parts) > 2
    assert sum((p.usage_metadata or {}).get("output_tokens", 0) for p in parts) == whole.usage_metadata["output_tokens"]


def langchain_structured():
    """langchain: withStructuredOutput by JSON schema gives an object of it"""
    schema = {"title": "Cat", "type": "object", "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 30}},
              "required": ["name", "age"], "additionalProperties": False}
    m = ChatOpenAI(model="naru-test", base_url=BASE, api_key="none", temperature=0, max_tokens=60, max_retries=0)
    got = m.with_structured_output(schema, method="json_schema", strict=True).invoke("A cat.")
    assert set(got) == {"name", "age"} and isinstance(got["name"], str) and 0 <= got["age"] <= 30


def langchain_embeddings():
    """langchain: embedQuery and embedDocuments"""
    e = OpenAIEmbeddings(model="naru-test", base_url=BASE, api_key="none", check_embedding_ctx_length=False, max_retries=0)
    one, many = e.embed_query("a cat"), e.embed_documents(["a cat", "a dog"])
    assert one == many[0] != many[1] and abs(sum(x * x for x in one) - 1) < 1e-4


def ask(**more):
    return litellm.completion(model="openai/naru-test", api_base=BASE, api_key="none", messages=HI, temperature=0, max_tokens=16,
                              max_retries=0, num_retries=0, **more)


def litellm_text():
    """litellm: a whole answer and a stream with usage"""
    whole = ask()
    text, usage = "", None
    for chunk in ask(stream=True, stream_options={"include_usage": True}):
        text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
        usage = getattr(chunk, "usage", None) or usage
    assert text == whole.choices[0].message.content and whole.usage.completion_tokens == usage.completion_tokens
    assert litellm.text_completion(model="text-completion-openai/naru-test", api_base=BASE, api_key="none", prompt="Once",
                                   max_tokens=4).choices[0].text
    e = litellm.embedding(model="openai/naru-test", api_base=BASE, api_key="none", input=["a"])
    assert len(e.data) == 1 and e.usage.prompt_tokens > 0


def litellm_errors():
    """litellm: bad requests and unknown models are its own error classes"""
    for error, more in ((litellm.BadRequestError, {"top_p": 7}), (litellm.NotFoundError, {"model": "openai/nothing"})):
        try:
            litellm.completion(**{"model": "openai/naru-test", "api_base": BASE, "api_key": "none", "messages": HI, "max_retries": 0, **more})
            raise AssertionError("no error")
        except error as e:
            assert "does not exist" in str(e) or "top_p" in str(e)


def litellm_anthropic():
    """litellm: the Messages dialect, whole and streamed"""
    ask = dict(model="anthropic/naru-test", api_base=server.url, api_key="none", messages=HI, max_tokens=12, temperature=0)
    whole = litellm.completion(**ask)
    text = "".join(c.choices[0].delta.content or "" for c in litellm.completion(**ask, stream=True))
    assert whole.choices[0].message.content == text != ""


with server:
    run_tests([langchain_invoke, langchain_stream, langchain_structured, langchain_embeddings, litellm_text, litellm_errors,
               litellm_anthropic])
