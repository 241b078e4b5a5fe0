"""What the server tells about itself: GET /metrics in both dialects, GET /stats; and that neither tells of prompts."""
import concurrent.futures
import json
import pathlib
import re

from serve import Server, run_tests

server = Server("--seqs", "2", "--name", 'odd"name\\')
SECRET = "zebracrossing"
SAMPLE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (\S+)$')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"')


def scrape(accept=None):
    headers = (f"Accept: {accept}",) if accept else ()
    status, head, body = server.request("GET", "/metrics", headers=headers)
    assert status == 200
    return head["content-type"], body.decode()


def parse(text):
    """{name: (type, {labels: value})}; every sample under the head of its family, once."""
    families, name = {}, None
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            name, kind = line.split()[2:]
            assert name not in families, line
            families[name] = (kind, {})
        elif line.startswith("# HELP ") or line == "# EOF":
            continue
        else:
            m = SAMPLE.match(line)
            assert m and name, line
            kind, samples = families[name]
            base = re.sub(r"_(bucket|sum|count)$", "", m[1]) if kind == "histogram" else m[1]
            assert base in (name, name + "_total"), line
            key = (m[1],) + tuple(LABEL.findall(m[2] or ""))
            assert key not in samples, line
            samples[key] = float(m[3])
    return families


def value(families, name, sample=None):
    return sum(v for k, v in families[name][1].items() if k[0] == (sample or name))


def ask(**more):
    body = {"messages": [{"role": "user", "content": SECRET}], "max_tokens": 6, "ignore_eos": True, **more}
    assert server.request("POST", "/v1/chat/completions", body)[0] == 200


def text_format():
    """both dialects parse, histograms are cumulative, label values are escaped"""
    ask()
    kind, text = scrape()
    assert kind.startswith("text/plain; version=0.0.4")
    families = parse(text)
    assert 'model_name="odd\\"name\\\\"' in text
    for name, (kind, samples) in families.items():
        if kind != "histogram":
            continue
        rows = {}
        for (sample, *labels), v in samples.items():
            rest = tuple(label for label in labels if label[0] != "le")
            rows.setdefault(rest, {}).setdefault(sample, []).append(v)
        for row in rows.values():
            buckets = row[name + "_bucket"]
            assert buckets == sorted(buckets) and buckets[-1] == row[name + "_count"][0], name
    kind, text = scrape("application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text") and text.endswith("# EOF\n")
    assert {"counter"} == {t for n, (t, _) in parse(text).items() if n in ("vllm:prompt_tokens", "naru_steps")}


def counts():
    """requests and tokens are counted once each, by route and status"""
    before = parse(scrape()[1])
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: ask(), range(8)))
    assert server.request("GET", "/nothing/" + SECRET)[0] == 404
    after = parse(scrape()[1])
    gained = {n: value(after, n) - value(before, n) for n in
              ("vllm:generation_tokens_total", "vllm:request_success_total")}
    assert gained == {"vllm:generation_tokens_total": 48, "vllm:request_success_total": 8}, gained
    for name, n in (("vllm:time_to_first_token_seconds", 8), ("vllm:e2e_request_latency_seconds", 8),
                    ("vllm:inter_token_latency_seconds", 40)):
        assert value(after, name, name + "_count") - value(before, name, name + "_count") == n, name
    by_route = after["naru_http_requests_total"][1]
    other = ("naru_http_requests_total", ("route", "other"), ("status_class", "4xx"))
    assert by_route[other] >= 1
    for name, (kind, samples) in before.items():
        for key, v in samples.items():
            if kind == "counter" or (kind == "histogram" and not key[0].endswith("_sum")):
                assert after[name][1][key] >= v, key


def stats():
    """GET /stats: one object with requests, memory, steps and decisions, and no prompt"""
    ask(stream=True)
    status, head, body = server.request("GET", "/stats")
    assert status == 200 and head["cache-control"] == "no-store"
    s = json.loads(body)
    assert s["model"] == 'odd"name\\' and s["requests"]["running_max"] == 2
    assert s["latency"]["ttft"]["n"] > 0 and s["latency"]["ttft"]["p50_s"] > 0
    tier = s["kv"]["tiers"][0]
    assert tier["tier"] == "ram" and tier["used"] + tier["cached"] <= tier["blocks"]
    assert s["steps"]["last"] and all(len(row) == 6 for row in s["steps"]["last"])
    first = s["decisions"][0]
    assert first["kind"] == "admit" and first["reason"] and first["request"] > 0


def silent():
    """nothing a client sent appears in either"""
    ask(user=SECRET)
    for path in ("/metrics", "/stats"):
        assert SECRET.encode() not in server.request("GET", path)[2]
    assert SECRET not in server.log_text().replace("/nothing/" + SECRET, "")


def board():
    """every metric that the Grafana board and the alert rules name is exported"""
    ask()
    exported = {s[0] for _, samples in parse(scrape()[1]).values() for s in samples}
    folder = pathlib.Path(__file__).resolve().parents[2] / "packaging/grafana"
    exprs = [t["expr"] for p in json.loads((folder / "naru.json").read_text())["panels"] for t in p["targets"]]
    exprs += re.findall(r"^ +expr: (.*)$", (folder / "alerts.yml").read_text(), re.M)
    named = set(re.findall(r"\b(?:vllm:|naru_|process_)[a-z0-9_]+", " ".join(exprs)))
    assert len(named) > 15 and named <= exported, named - exported


with server:
    run_tests([text_format, counts, stats, silent, board])
