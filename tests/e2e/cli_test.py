"""The command-line contract: output forms, exit statuses, and one-line errors for every kind of bad input.
Runs the real binary (NARU_BIN, default build/naru) on the bundled model and, where present, on reference
models. Prints TAP."""
import json
import os
import pathlib
import signal
import struct
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
NARU = str(ROOT / os.environ.get("NARU_BIN", "build/naru"))
SHARED = os.environ.get("NARU_SHARED")
BUNDLED = ROOT / "models/naru-chat.gguf"
LIMIT_S = 120


class Skip(Exception):
    pass


def run(*args, stdin=b"", check=0):
    """Runs the program; asserts the exit status; returns (stdout, stderr)."""
    p = subprocess.run([NARU, *map(str, args)], input=stdin, capture_output=True, timeout=LIMIT_S)
    assert check is None or p.returncode == check, f"{args}: status {p.returncode}: {p.stderr.decode()[-400:]}"
    return p.stdout, p.stderr.decode("utf-8", "replace")


def one_json(*args, **kw):
    out, _ = run(*args, "--json", **kw)
    return json.loads(out)          # exactly one object, nothing else on stdout


def refused(status, says, *args, stdin=b""):
    """Bad input: this status, one line on stderr that contains `says`, nothing on stdout."""
    out, err = run(*args, stdin=stdin, check=status)
    assert out == b"", f"{args}: stdout {out[:80]!r}"
    lines = [line for line in err.splitlines() if line]
    assert len(lines) == 1 and says in lines[0], f"{args}: said {err!r}, expected {says!r}"


def model(name):
    if SHARED is None:
        raise Skip("no NARU_SHARED")
    return str(pathlib.Path(SHARED) / "models" / name)


def test_quantize():
    """A smaller file that runs and scores nearly the same; refusals leave nothing behind."""
    text = b"Once upon a time there was a little cat who lived in a small house with a girl. " * 20
    want = one_json("score", stdin=text)["nll"]
    with tempfile.TemporaryDirectory() as d:
        out = os.path.join(d, 'na"me.gguf')
        for kind, far in (("Q8_0", 0.01), ("Q4_K_M", 0.15)):
            report = one_json("quantize", BUNDLED, out, kind)
            assert report["out"] == out and report["out_bytes"] < report["in_bytes"], report
            assert abs(one_json("score", "-m", out, stdin=text)["nll"] - want) < far
        refused(2, "requantize", "quantize", out, os.path.join(d, "x.gguf"), "Q2_K")
        refused(2, "Q4_K_M", "quantize", BUNDLED, os.path.join(d, "x.gguf"), "Q4_K_XXL")
        refused(2, "IN, OUT and TYPE", "quantize", BUNDLED)
        refused(1, "no-such-folder", "quantize", BUNDLED, os.path.join(d, "no-such-folder/x.gguf"), "Q8_0")
        assert os.listdir(d) == ['na"me.gguf']


def test_version_and_help():
    """Version, overview and every verb's help; the man page names every verb."""
    assert run("version")[0].startswith(b"naru ")
    overview = run("help")[0].decode()
    man = run("help", "--man")[0].decode()
    for verb in "run serve tokenize inspect score logits bench".split():
        assert f"  {verb}" in overview and f".SS {verb}" in man
        text = run(verb, "--help")[0].decode()
        assert "usage: naru " + verb in text and "--threads" in text and "--json" in text
        assert run("help", verb)[0].decode() == text
    assert run(check=2)[1].startswith("Naru")


def test_usage_errors():
    """Unknown verbs, options and values: status 2, one line that names the fix."""
    refused(2, "unknown verb", "sing")
    refused(2, "did you mean --threads?", "run", "--thread", "2", "-p", "x")
    refused(2, "--threads 0: must be between 1 and 256", "run", "-t", "0", "-p", "x")
    refused(2, "must be a number", "run", "--temp", "warm", "-p", "x")
    refused(2, "--cpu z80", "run", "--cpu", "z80", "-p", "x")
    refused(2, "unexpected argument", "run", "hello")
    refused(2, "--log loud", "run", "--log", "loud", "-p", "x")
    refused(2, "--kv q9", "run", "--kv", "q9", "-p", "x")
    refused(2, "empty", "run", "-p", "")
    refused(2, "--ids", "logits")
    refused(2, "not a token id", "logits", "--ids", "1 x")
    refused(2, "not a token id", "logits", "--ids", "99999999")
    refused(2, "empty", "score", stdin=b"")
    refused(2, "--logit-bias", "run", "-p", "x", "--logit-bias", "5")
    refused(2, "--pp", "bench", "--pp", "1,,2")


def test_missing_files():
    """Files that are not there, are folders, or are no models: status 1 and the name."""
    refused(1, "/nowhere/m.gguf", "run", "-m", "/nowhere/m.gguf", "-p", "x")
    refused(1, "/nowhere/t.txt", "score", "--file", "/nowhere/t.txt")
    refused(1, "/dev/null", "inspect", "/dev/null")
    with tempfile.TemporaryDirectory() as d:
        refused(1, d, "inspect", d)                         # a folder without config.json
        empty = pathlib.Path(d, "empty.gguf")
        empty.write_bytes(b"")
        refused(1, "empty.gguf", "inspect", empty)
        text = pathlib.Path(d, "text.gguf")
        text.write_bytes(b"this is no model at all, only text that goes on")
        refused(1, "text.gguf", "run", "-m", text, "-p", "x")


def test_damaged_files():
    """Truncations and hostile counts of the bundled model: refused in one line, never a crash."""
    data = BUNDLED.read_bytes()
    with tempfile.TemporaryDirectory() as d:
        path = pathlib.Path(d, "damaged.gguf")
        for size in [4, 8, 15, 24, 100, 5000, len(data) // 2, len(data) - 1]:
            path.write_bytes(data[:size])
            refused(1, "damaged.gguf", "run", "-m", path, "-p", "x")
        for at in (8, 16):                                  # tensor count, metadata count
            for count in (2**31, 2**32, 2**63, 2**64 - 1):
                path.write_bytes(data[:at] + struct.pack("<Q", count) + data[at + 8:])
                refused(1, "damaged.gguf", "inspect", path)


def test_tokenize():
    """Ids and pieces, round trip, control tokens only when asked for."""
    text = "Hello, wörld! 안녕하세요 \U0001f600\n"
    j = one_json("tokenize", "--no-bos", stdin=text.encode())
    assert len(j["ids"]) == len(j["pieces"]) > 3
    back = run("tokenize", "--decode", stdin=" ".join(map(str, j["ids"])).encode())[0]
    assert back.decode() == text
    with_bos = one_json("tokenize", stdin=text.encode())["ids"]
    assert with_bos[-len(j["ids"]):] == j["ids"]
    plain = one_json("tokenize", "--no-bos", stdin=b"<|im_end|>")["ids"]
    special = one_json("tokenize", "--no-bos", "--special", stdin=b"<|im_end|>")["ids"]
    assert len(special) == 1 < len(plain)
    assert run("tokenize", "--count", "--no-bos", stdin=text.encode())[0] == b"%d\n" % len(j["ids"])
    bad = b"ab\xff\xfe\xc3"
    ids = one_json("tokenize", "--no-bos", stdin=bad)["ids"]
    assert len(ids) >= 4                                    # the bad bytes one by one, no crash


def test_run():
    """One shot: text and ids agree, greedy repeats, seeds repeat, stop strings hold, -n counts."""
    a = one_json("run", "-p", "Once upon a time", "--raw", "-n", "24", "--temp", "0")
    b = one_json("run", "-p", "Once upon a time", "--raw", "-n", "24", "--temp", "0", "-t", "1")
    assert a["ids"] == b["ids"] and a["text"] == b["text"]
    assert len(a["ids"]) <= 24 and a["finish_reason"] in ("length", "stop") and a["timings"]["prompt_tokens"] > 0
    text = run("run", "-p", "Once upon a time", "--raw", "-n", "24", "--temp", "0")[0].decode()
    assert text.rstrip("\n") == a["text"].rstrip("\n")
    s = [one_json("run", "-p", "Tell me a story.", "-n", "16", "--seed", "5")["ids"] for _ in range(2)]
    t = one_json("run", "-p", "Tell me a story.", "-n", "16", "--seed", "6")["ids"]
    assert s[0] == s[1] and s[0] != t
    word = a["text"].split()[3]
    stopped = one_json("run", "-p", "Once upon a time", "--raw", "-n", "24", "--temp", "0", "--stop", word)
    assert word not in stopped["text"] and a["text"].startswith(stopped["text"])
    assert stopped["finish_reason"] == "stop"
    via_stdin = one_json("run", "--raw", "-n", "24", "--temp", "0", stdin=b"Once upon a time")
    assert via_stdin["ids"] == a["ids"]


def test_prompt_too_long():
    """A prompt over the context is refused with both numbers."""
    out, err = run("run", "--ctx", "16", "--raw", stdin=b"word " * 100, check=1)
    assert out == b"" and "16" in err and len(err.strip().splitlines()) == 1, err


def test_score_and_logits():
    """Scores are consistent: ppl = exp(nll); windows cover every token; logits have one value a token."""
    import math
    text = b"Once upon a time there was a little girl. She had a cat. The cat was black."
    j = one_json("score", "--file", "-", stdin=text)
    assert abs(math.exp(j["nll"]) - j["ppl"]) < 1e-6 * j["ppl"]
    n = len(one_json("tokenize", "--no-bos", stdin=text)["ids"])
    assert n - 1 <= j["tokens"] <= n
    assert abs(j["nll"] * j["tokens"] / math.log(2) / len(text) - j["bits_per_byte"]) < 1e-9
    logits = one_json("logits", "--ids", "1 2 3")["logits"]
    assert len(logits) == one_json("inspect", BUNDLED)["meta"]["tokenizer.ggml.tokens"]["n"]
    assert all(isinstance(x, float) or isinstance(x, int) for x in logits)


def test_inspect():
    """The bundled model runs, and says so for people and for programs."""
    j = one_json("inspect", BUNDLED)
    assert j["runs"] is True and j["arch"] == "llama" and j["n_params"] > 1e6 and j["tensors"]
    assert "runs" in run("inspect", BUNDLED)[0].decode()


def test_bench():
    """Ceilings are measured once and kept; one JSON object a line with the promised fields; a chart; bad
    profiles are measured again, bad plans refused."""
    with tempfile.TemporaryDirectory() as folder:
        profile, chart = os.path.join(folder, "deep/er/machine.json"), os.path.join(folder, "chart.svg")
        plan = ("--json", "--pp", "32", "--tg", "4", "--batch", "1,2", "--depth", "20,0", "--kv", "f16,q8", "--reps", "2",
                "--no-disk", "--profile", profile)
        results = [json.loads(line) for line in run("bench", *plan, "--svg", chart)[0].splitlines()]
        for r in results:
            assert {"name", "parameters", "machine", "commit", "min", "median", "max", "unit"} <= set(r), r
            assert 0 < r["min"] <= r["median"] <= r["max"], r
        points = [r for r in results if "model" in r["parameters"]]
        assert results[0]["name"] == "read L2" and results[0] not in points
        seen = [(r["name"], r["parameters"]["kv"], r["parameters"]["depth"], r["parameters"]["batch"]) for r in points]
        assert seen == [(name, kv, depth, batch) for kv in ("f16", "q8") for depth in (0, 20)
                        for name, batch in (("prefill", 1), ("decode", 1), ("decode", 2))], seen
        assert all(r["floor"] > 0 and r["floor_pct"] > 0 and r["bound"] in ("memory", "arithmetic") for r in points)
        root = xml.etree.ElementTree.parse(chart).getroot()
        assert sum(e.tag.endswith("circle") for e in root.iter()) == len(points)
        kept = open(profile).read()
        assert json.loads(kept)["version"] == 1 and os.listdir(os.path.dirname(profile)) == ["machine.json"]
        small = ("bench", "--machine-only", "--no-disk", "--profile", profile)
        assert "GB/s" in run(*small)[0].decode() and open(profile).read() == kept       # read, not measured
        open(profile, "w").write(kept[:-9])
        assert "measuring again" in run(*small)[1] and json.loads(open(profile).read())["points"]
        big = ("bench", "--depth", "1048576", "--batch", "1024", "--profile", profile)
        assert "does not fit into" in run(*big, check=1)[1]
        refused(2, "--kv q9", "bench", "--kv", "f16,q9", "--profile", profile)
        refused(2, "--batch", "bench", "--batch", "0")
        lines = [json.dumps(r) for r in results]
        old, new = os.path.join(folder, "old.jsonl"), os.path.join(folder, "new.jsonl")
        open(old, "w").write("\n".join(lines))
        open(new, "w").write("\n".join(json.dumps(r | {k: 2 * r[k] for k in ("min", "median", "max")}) for r in results))
        p = subprocess.run([ROOT / "tools/benchcmp", old, new], capture_output=True, text=True, timeout=LIMIT_S)
        assert p.returncode == 0 and p.stdout.count("  2.000") == len(results), p.stdout + p.stderr
        open(new, "w").write("no json")
        p = subprocess.run([ROOT / "tools/benchcmp", old, new], capture_output=True, text=True, timeout=LIMIT_S)
        assert p.returncode == 1 and "line 1" in p.stderr


def test_interrupt():
    """Ctrl-C ends a generation, not the program's manners: text so far, status 0."""
    p = subprocess.Popen([NARU, "run", "-p", "Tell me a very long story.", "--ignore-eos", "-n", "100000"],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    first = p.stdout.read(1)                                # generation has begun
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=LIMIT_S)
    assert first and p.returncode == 0, (p.returncode, err)


def test_closed_pipe():
    """A reader that goes away ends the program with status 1, not with a signal."""
    p = subprocess.Popen([NARU, "run", "-p", "Tell me a story.", "--ignore-eos", "-n", "400"],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    p.stdout.read(1)
    p.stdout.close()
    p.stderr.read()
    assert p.wait(timeout=LIMIT_S) in (0, 1)


def check_runs(path, runs):
    """Prompt ids, first logits and greedy ids as recorded by an independent implementation."""
    for r in runs:
        special = ["--special"] if "<|im_start|>" in r["prompt"] else []
        ids = one_json("tokenize", "-m", path, *special, stdin=r["prompt"].encode())["ids"]
        assert ids == r["ids"], (path, r["prompt"], ids)
        logits = one_json("logits", "-m", path, "--kv", "f32", "--ids", " ".join(map(str, ids)))["logits"]
        for got, want in zip(logits, r["logits_head"]):
            assert abs(got - want) < 1e-3, (path, r["prompt"], got, want)
        if r["min_gap"] < 1e-3:
            continue
        got = one_json("run", "-m", path, "-p", r["prompt"], "--raw", *special, "--temp", "0", "--kv", "f32",
                       "--ignore-eos", "-n", len(r["greedy"]))
        assert got["ids"][:len(r["greedy"])] == r["greedy"], (path, r["prompt"], got["ids"])


def test_reference_models():
    """The models of the reference folder: ids, logits, greedy text as recorded."""
    expected = json.loads(pathlib.Path(model("expected.json")).read_text())
    names = {"stories260k": "stories260k-f32.gguf", "llama2xs-stories": "llama2xs-stories-f32.gguf",
             "babyllama-char105": "babyllama-char105-f32.gguf", "bit-stories-3m": "bit-stories-3m-f16.gguf"}
    for name, file in names.items():
        check_runs(model(file), expected[name]["runs"])


def test_own_models():
    """The bundled model, the draft and the latent-attention model with experts: the same."""
    expected = json.loads((ROOT / "tests/models/expected.json").read_text())
    for name, path in {"naru-chat": BUNDLED, "naru-draft": ROOT / "tests/models/naru-draft.gguf",
                       "naru-mla-moe-mtp": ROOT / "tests/models/naru-mla-moe-mtp.gguf"}.items():
        check_runs(path, expected[name]["runs"])


def test_unknown_characters():
    """A vocabulary without bytes: text outside its alphabet becomes <unk>; nothing aborts."""
    m = model("babyllama-char105-f32.gguf")
    ids = one_json("tokenize", "-m", m, "--no-bos", stdin="한국어 §".encode())["ids"]
    assert ids and 0 in ids
    one_json("run", "-m", m, "-p", "한국어 Once", "--raw", "-n", "4", "--temp", "0")


def test_start_and_memory():
    """Peak memory stays within the file, the state of its context (here below 16 MiB) and 100 MiB."""
    with open(os.devnull, "wb") as null:
        p = subprocess.Popen([NARU, "run", "-p", "Hi", "-n", "1"], stdout=null, stderr=null, stdin=subprocess.DEVNULL)
        _, status, usage = os.wait4(p.pid, 0)
    assert status == 0
    assert usage.ru_maxrss * 1024 <= BUNDLED.stat().st_size + (116 << 20), usage.ru_maxrss


def main():
    tests = [(n, f) for n, f in globals().items() if n.startswith("test_")]
    failed = 0
    for i, (name, fn) in enumerate(tests, 1):
        try:
            fn()
            print(f"ok {i} - cli {name[5:]}", flush=True)
        except Skip as why:
            print(f"ok {i} - cli {name[5:]} # SKIP {why}", flush=True)
        except Exception as e:      # noqa: BLE001  every failure is reported and counted
            failed = 1
            print(f"not ok {i} - cli {name[5:]}: {type(e).__name__}: {str(e)[:600]}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
