"use strict";
/* The server, as the page sees it: three routes and the ways they fail.
 *
 * A failure is a Failure with kind: "offline", "key", "busy" (retryMs), "long", "cut", "server". */
class Failure extends Error {
    constructor(kind, message = "", retryMs = 0) {
        super(message);
        this.kind = kind;
        this.retryMs = retryMs;
    }
}

function headers(json) {
    const out = json ? { "content-type": "application/json" } : {};
    if (settings.values.key) out.authorization = `Bearer ${settings.values.key}`;
    return out;
}

async function call(path, options) {
    let response;
    try {
        response = await fetch(path, { ...options, cache: "no-store", credentials: "omit" });
    } catch (e) {
        if (e.name === "AbortError") throw e;
        throw new Failure("offline");
    }
    if (response.ok) return response;
    const body = await response.json().catch(() => null);
    throw failureOf(response.status, body?.error || {}, Number(response.headers.get("retry-after-ms")) || 1000);
}

function failureOf(status, error, retryMs) {
    const message = error.message || `HTTP ${status}`;
    if (status === 401 || status === 403) return new Failure("key", message);
    if (status === 429 || status === 503) return new Failure("busy", message, retryMs);
    if (error.code === "context_length_exceeded") return new Failure("long", message);
    return new Failure("server", message);
}

async function getJson(path, signal) { return (await call(path, { headers: headers(false), signal })).json(); }

/* The data of each server-sent event, as it comes. */
async function* eventData(response) {
    const reader = response.body.getReader(), decoder = new TextDecoder();
    let rest = "";
    for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
        rest = lines.pop();
        for (const line of lines) if (line.startsWith("data:")) yield line.slice(5).trim();
    }
}

/* One streamed answer. on.text(s), on.reasoning(s) as it comes; resolves to {end, stats}. */
async function streamChat(body, signal, on) {
    const began = performance.now();
    const response = await call("/v1/chat/completions", { method: "POST", headers: headers(true), signal,
        body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }) });
    const stats = { prompt: 0, cached: 0, completion: 0, ttft: 0, decode: 0 };
    let end = null, first = 0, last = 0, complete = false;
    try {
        for await (const data of eventData(response)) {
            if (data === "[DONE]") { complete = true; break; }
            const chunk = JSON.parse(data);
            if (chunk.error) throw failureOf(chunk.error.code === "context_length_exceeded" ? 400 : 500, chunk.error, 0);
            const choice = chunk.choices?.[0], delta = choice?.delta || {};
            if (delta.content || delta.reasoning_content) {
                last = performance.now();
                first = first || last;
            }
            if (delta.reasoning_content) on.reasoning(delta.reasoning_content);
            if (delta.content) on.text(delta.content);
            end = choice?.finish_reason || end;
            if (chunk.usage) {
                stats.prompt = chunk.usage.prompt_tokens;
                stats.cached = chunk.usage.prompt_tokens_details?.cached_tokens || 0;
                stats.completion = chunk.usage.completion_tokens;
            }
        }
    } catch (e) {
        if (e instanceof Failure || e.name === "AbortError") throw e;
        throw new Failure("cut");
    }
    if (!complete) throw new Failure("cut");
    stats.ttft = first ? (first - began) / 1000 : 0;
    stats.decode = first ? (last - first) / 1000 : 0;
    return { end, stats };
}
