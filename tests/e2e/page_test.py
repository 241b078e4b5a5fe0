"""The web page in a real browser: every control, both languages and themes, what strangers' text may do, and how it fails.

Needs Chromium (Debian package `chromium`); without it everything is skipped by name. NARU_SHOTS=DIR keeps the
pictures that docs/ shows; else they go to a temporary folder."""
import contextlib
import http.server
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import browser
from serve import BIN, Server, run_tests

HERE = pathlib.Path(__file__).resolve().parent
STORY = "Tell me a story about a cat."


class Stage(http.server.ThreadingHTTPServer):
    """Serves the real page and the real /stats, but answers chats from a script: what no small model says on demand."""

    def __init__(self, url):
        self.url, self.requests, self.script, self.key = url, [], [], None
        super().__init__(("127.0.0.1", 0), Actor)
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server_port}"


class Actor(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def log_message(self, *args):
        pass

    def do_GET(self):
        if self.server.key and self.path.startswith("/v1/") and self.headers.get("authorization") != f"Bearer {self.server.key}":
            return self.refuse(401, "invalid_api_key", "who are you?")
        with urllib.request.urlopen(self.server.url + self.path) as r:
            data = r.read()
            self.send_response(r.status)
            for name in ("content-type", "content-security-policy"):
                if r.headers[name]:
                    self.send_header(name, r.headers[name])
            self.end_headers()
            self.wfile.write(data)

    def refuse(self, status, code, message):
        data = json.dumps({"error": {"message": message, "type": "x", "param": None, "code": code}}).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("retry-after-ms", "50")
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append(body)
        if self.server.key and self.headers.get("authorization") != f"Bearer {self.server.key}":
            return self.refuse(401, "invalid_api_key", "who are you?")
        act = self.server.script.pop(0) if self.server.script else ["ok"]
        if isinstance(act, tuple):
            return self.refuse(*act)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        try:
            self.play(act)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def play(self, act):
        done, reason = True, "stop"
        for piece in act:
            if isinstance(piece, float):
                time.sleep(piece)
            elif piece == "\0cut":
                done = False
            elif piece == "\0length":
                reason = "length"
            elif isinstance(piece, dict):
                self.wfile.write(b"data: " + json.dumps(piece).encode() + b"\n\n")
                done = False
            else:
                self.wfile.write(b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": piece}}]}).encode() + b"\n\n")
        if done:
            usage = {"prompt_tokens": 20, "completion_tokens": 30, "prompt_tokens_details": {"cached_tokens": 16}}
            self.wfile.write(b"data: " + json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}).encode() + b"\n\n"
                             b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\ndata: [DONE]\n\n")


if browser.program() is None:
    print("ok 1 - the web page in Chromium # SKIP no chromium (Debian package of that name)")
    sys.exit(0)

server = Server("--seqs", "4", "--seed", "7")
stage = Stage(server.url)
chromium = browser.Browser()
shots = os.environ.get("NARU_SHOTS") or tempfile.mkdtemp()
IDLE = "chat.abort === null && chat.conversation.messages.length % 2 === 0"


def open_page(url=None, **more):
    return browser.Page(chromium, (url or server.url) + "/", **more)


def ask(page, text, wait=True):
    page.click("#input")
    page.type(text)
    page.key("Enter")
    if wait:
        page.wait(f"chat.conversation.messages.length >= 2 && {IDLE}")


def last(page):
    return page.eval("chat.conversation.messages.at(-1)")


def quiet(page, *allowed):
    """No error nor warning on the console; `allowed` sources (failed loads) are expected."""
    bad = [e for e in page.errors if e[0] not in allowed]
    assert not bad, bad


def delivery():
    """the page is one text with a strict policy, a tag and a gzip form"""
    status, head, body = server.request("GET", "/")
    policy = head["content-security-policy"]
    assert status == 200 and "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert b"innerHTML" not in body and b"eval(" not in body and b"src=" not in body.replace(b"data:image", b"")
    again = server.request("GET", "/", headers=(f"If-None-Match: {head['etag']}",))
    assert again[0] == 304 and not again[2]
    packed = server.request("GET", "/", headers=("Accept-Encoding: gzip",))
    assert packed[1]["content-encoding"] == "gzip" and len(packed[2]) < len(body) / 2
    assert server.request("HEAD", "/")[0] == 200 and server.request("POST", "/")[0] == 405


def talk():
    """sending, the numbers of an answer, a second turn that reads from the cache"""
    page = open_page()
    assert page.eval("document.activeElement.id") == "input" and page.eval("$('send').disabled")
    ask(page, STORY)
    m = last(page)
    assert m["role"] == "assistant" and m["text"] and m["stats"]["completion"] > 0 and m["stats"]["ttft"] > 0, m
    shown = page.eval("document.querySelector('.message.assistant .text').innerText")
    assert m["text"].split("\n")[0].strip() in shown
    ask(page, "Hello!")
    assert last(page)["stats"]["cached"] > 0
    words = page.eval("document.querySelector('.message.last .stats').innerText")
    assert "tokens/s" in words and "first token" in words and "cached" in words, words
    assert all(u.startswith(server.url + "/") for u in page.requests), page.requests
    quiet(page)
    page.close()


def edits():
    """answer again, undo, edit an earlier message; what is sent is what is shown"""
    page = open_page(stage.address)
    for text in ("one", "two"):
        stage.script.append(["first " + text])
        ask(page, text)
    stage.script.append(["second two"])
    page.click(".message.last [aria-label='Answer again']")
    page.wait(f"{IDLE} && chat.conversation.messages.at(-1).text === 'second two'")
    assert [m["content"] for m in stage.requests[-1]["messages"]] == ["one", "first one", "two"]
    page.click("#toast-act")
    page.wait("chat.conversation.messages.at(-1).text === 'first two'")
    stage.script.append(["**edited**"])
    page.hover(".message.user")
    page.click(".message.user [aria-label='Edit']")
    page.eval("document.querySelector('textarea.edit').select()")
    page.type("uno")
    page.key("Enter")
    page.wait(f"{IDLE} && chat.conversation.messages.length === 2 && chat.conversation.messages[1].text === '**edited**'")
    assert [m["content"] for m in stage.requests[-1]["messages"]] == ["uno"]
    assert page.eval("document.querySelector('.message.assistant strong').textContent") == "edited"
    quiet(page)
    page.close()


def stop():
    """stop by button and by Escape keeps what came; going on continues it; the server hears of it"""
    page = open_page(stage.address)
    for way in ("button", "Escape"):
        stage.script.append(["some words ", 0.01] + [0.1] * 100)
        ask(page, "go", wait=False)
        page.wait("chat.conversation.messages.at(-1).text === 'some words '")
        if way == "button":
            page.click("#stop")
        else:
            page.key("Escape")
        page.wait(IDLE)
        assert last(page)["end"] == "stopped" and last(page)["text"] == "some words "
    stage.script.append(["and more"])
    page.click(".message.last .go-on")
    page.wait(f"{IDLE} && chat.conversation.messages.at(-1).text === 'some words and more'")
    assert stage.requests[-1]["continue_final_message"] is True and stage.requests[-1]["messages"][-1]["role"] == "assistant"
    real = open_page()
    real.eval("settings.values.sampling = { max_tokens: 5, temperature: 0 }")
    ask(real, STORY)
    assert last(real)["end"] == "length"
    begun = last(real)["text"]
    real.click(".message.last .go-on")
    real.wait(f"{IDLE} && chat.conversation.messages.at(-1).text.length > {len(begun)}")
    quiet(page)
    quiet(real)
    page.close()
    real.close()


def many():
    """new, open, rename, delete, undo; all is there after a reload"""
    page = open_page(stage.address)
    for i in range(3):
        stage.script.append([f"answer {i}"])
        ask(page, f"question {i}")
        if i < 2:
            page.click("#new")
    titles = "[...document.querySelectorAll('.open-it')].map((n) => n.textContent)"
    assert page.eval(titles) == ["question 2", "question 1", "question 0"]
    page.click("#list li:nth-child(2) .open-it")
    assert page.eval("document.querySelector('.message.assistant .text').innerText") == "answer 1"
    page.hover("#list li:nth-child(2)")
    page.click("#list li:nth-child(2) [title='Rename']")
    page.type("renamed & <b>bold</b>")
    page.key("Enter")
    page.wait(titles + "[1] === 'renamed & <b>bold</b>'")
    page.hover("#list li:nth-child(1)")
    page.click("#list li:nth-child(1) [title='Delete']")
    page.wait(titles + ".length === 2")
    page.click("#toast-act")
    page.wait(titles + ".length === 3")
    page.call("Page.reload")
    page.wait("document.documentElement.dataset.started === 'true' && document.querySelectorAll('.open-it').length === 3")
    assert page.eval(titles) == ["question 2", "renamed & <b>bold</b>", "question 0"]
    assert page.eval("document.querySelector('.message.user .text').innerText") == "question 2"
    quiet(page)
    page.close()


def export_import():
    """what is exported can be imported elsewhere; a wrong file changes nothing"""
    page = open_page(stage.address)
    stage.script.append(["an answer"])
    ask(page, "keep me")
    page.click("#export")
    end = time.monotonic() + 30
    while not (files := list(pathlib.Path(chromium.downloads).glob("naru-*.json"))):
        assert time.monotonic() < end
        time.sleep(0.05)
    data = json.loads(files[0].read_text())
    assert data["conversations"][0]["messages"][1]["text"] == "an answer" and "key" not in data
    other = open_page(stage.address)
    node = other.call("DOM.querySelector", nodeId=other.call("DOM.getDocument")["root"]["nodeId"], selector="#import-file")["nodeId"]
    for _ in range(2):      # a second time: beside the first, not over it
        other.call("DOM.setFileInputFiles", nodeId=node, files=[str(files[0])])
        other.wait("$('toast-text').textContent.includes('1 conversations imported')")
        other.eval("$('toast').hidden = true; $('toast-text').textContent = ''")
    assert other.eval("store.all().length") == 2
    bad = pathlib.Path(chromium.downloads) / "bad.json"
    for text in ("{", "[]", '{"format":"naru-conversations","version":9}', '{"format":"naru-conversations","version":1,"conversations":[{"messages":[{"role":"root","text":""}]}]}'):
        bad.write_text(text)
        other.call("DOM.setFileInputFiles", nodeId=node, files=[str(bad)])
        other.wait("!$('notice').hidden")
        other.eval("hideNotice()")
    assert other.eval("store.all().length") == 2
    quiet(page)
    quiet(other)
    page.close()
    other.close()


def settings():
    """system prompt, sampling and their ranges, theme and language; kept over a reload, the key only if asked"""
    page = open_page(stage.address)
    page.click("#settings-open")
    for field, value in (("s-system", "Be brief."), ("s-temperature", "0.3"), ("s-top_k", "7"), ("s-stop", "END"), ("s-key", "secret-key")):
        page.eval(f"$('{field}').focus()")
        page.type(value)
    page.eval("$('s-min_p').focus()")
    page.type("3")          # out of range: not taken
    assert page.eval("$('s-min_p').matches(':invalid')")
    page.eval("$('s-min_p').value = ''")
    page.key("Escape")
    page.wait("!$('settings').open")
    assert page.eval("document.activeElement.id") == "settings-open"
    ask(page, "hi")
    sent = stage.requests[-1]
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (sent["temperature"], sent["top_k"], sent["stop"]) == (0.3, 7, ["END"]) and "min_p" not in sent
    themes = []
    for _ in range(3):
        page.click("#theme")
        themes.append(page.eval("getComputedStyle(document.body).backgroundColor"))
    assert themes[0] != themes[1] and themes[2] == themes[0], themes
    page.click("#theme")
    page.click("#theme")
    page.click("#language")
    assert page.eval("document.documentElement.lang") == "ko" and page.eval("$('tab-ops').textContent") == "운영"
    page.call("Page.reload")
    page.wait("document.documentElement.dataset.started === 'true'")
    assert page.eval("[language, settings.values.theme, settings.values.key, settings.values.sampling.top_k]") == ["ko", "dark", "", 7]
    same = page.eval("JSON.stringify(Object.keys(TEXTS.en)) === JSON.stringify(Object.keys(TEXTS.ko))")
    assert same, page.eval("[...Object.keys(TEXTS.en).filter((k) => !(k in TEXTS.ko)), ...Object.keys(TEXTS.ko).filter((k) => !(k in TEXTS.en))]")
    used = page.eval("[...document.querySelectorAll('[data-t],[data-t-label],[data-t-hint]')].flatMap((n) => [n.dataset.t, n.dataset.tLabel, n.dataset.tHint]).filter((k) => k && !(k in TEXTS.en))")
    assert not used, used
    quiet(page)
    page.close()


def operations():
    """the operations view tells what /stats tells, live"""
    page = open_page()
    ask(page, STORY)
    page.click("#tab-ops")
    page.wait("document.querySelectorAll('.chart rect').length > 5")
    stats = json.loads(server.request("GET", "/stats")[2])
    page.wait(f"ops.last && ops.last.steps.count === {stats['steps']['count']}")
    text = page.eval("$('ops').innerText")
    assert "admitted" in text and "Memory" in text and f"{stats['kv']['tiers'][0]['cached']} kept for reuse" in text, text
    assert STORY not in text
    server.post("/v1/completions", {"prompt": "Once upon a time", "max_tokens": 50, "ignore_eos": True})
    page.wait(f"ops.last.steps.count >= {stats['steps']['count'] + 50}")
    looks = len(page.requests)
    page.click("#tab-chat")
    page.eval("new Promise((done) => setTimeout(done, 1500))")
    assert not [u for u in page.requests[looks + 1:] if u.endswith("/stats")], "polls unseen"
    quiet(page)
    page.close()


def failures():
    """busy, key, broken off, server error, too long, no server: each is told with a way on; nothing written is lost"""
    page = open_page(stage.address)
    stage.script += [(503, "overloaded", "full"), (503, "overloaded", "full"), ["in the end"]]
    ask(page, "busy")
    assert last(page)["text"] == "in the end"
    stage.script.append(["half", "\0cut"])
    ask(page, "cut")
    assert last(page)["text"] == "half" and "broke off" in page.eval("$('notice-text').textContent")
    stage.script.append(["whole"])
    page.click("#notice-act")
    page.wait(f"{IDLE} && chat.conversation.messages.at(-1).text === 'whole'")
    stage.script.append(["be", {"error": {"message": "it <b>broke</b>", "type": "server_error", "param": None, "code": "x"}}])
    ask(page, "error")
    assert "it <b>broke</b>" in page.eval("$('notice-text').textContent")
    page.click("#new")
    stage.script.append((400, "context_length_exceeded", "9 of 8"))
    page.click("#input")
    page.type("long")
    page.key("Enter")
    page.wait("!$('notice').hidden && $('notice-text').textContent.includes('9 of 8')")
    assert page.eval("chat.conversation.messages.length") == 1      # the question stays
    stage.key = "sesame"
    page.click("#new")
    page.click("#input")
    page.type("key")
    page.key("Enter")
    page.wait("!$('notice').hidden && $('notice-text').textContent.includes('API key')")
    page.click("#notice-act")
    page.wait("document.activeElement.id === 's-key'")
    page.type("sesame")
    page.key("Escape")
    stage.script.append(["open"])
    page.eval("chat.answer()")
    page.wait(f"chat.conversation.messages.length === 2 && {IDLE}")
    assert last(page)["text"] == "open"
    stage.key = None
    page.call("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    ask(page, "offline", wait=False)
    page.wait("chat.abort === null && !$('notice').hidden && $('server').dataset.state === 'offline'")
    page.call("Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    page.wait("$('server').dataset.state === 'ready'")
    stage.script.append(["back"])
    page.click("#notice-act")
    page.wait(f"{IDLE} && chat.conversation.messages.at(-1).text === 'back'")
    quiet(page, "network")
    page.close()


def keys():
    """a server that asks for keys: the page says so, takes one, and a user's key does not open the operations view"""
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "keys.db")
        key, operator = (subprocess.run([BIN, "keys", "add", name, "--role", role, "--keys", file], capture_output=True, text=True, check=True).stdout.split()[-1]
                         for name, role in (("bob", "user"), ("olga", "operator")))
        with Server("--seqs", "2", "--keys", file, "--kv-dir", os.path.join(folder, "kv")) as locked:
            page = open_page(locked.url)
            page.wait("$('server').dataset.state === 'locked' && $('welcome-text').textContent.includes('API key')")
            ask(page, "Hello!", wait=False)
            page.wait("!$('notice').hidden && $('notice-text').textContent.includes('API key')")
            page.click("#notice-act")
            page.type(key)
            page.key("Escape")
            page.wait("$('server').dataset.state === 'ready'")
            page.eval("chat.answer()")
            page.wait(f"chat.conversation.messages.length === 2 && {IDLE}")
            page.click("#tab-ops")
            page.wait("!ops.box.problem.hidden && ops.box.problem.textContent.includes('metrics')")
            page.eval(f"settings.values.key = {json.dumps(operator)}")
            page.wait("ops.box.problem.hidden && ops.last?.requests.stop >= 1")
            page.wait("document.querySelectorAll('.tier').length === 2 && /SSD[^]* blocks kept/.test(document.querySelector('.card.kv').innerText)")
            quiet(page, "network")
            page.close()


def inert():
    """the corpus of hostile texts renders inert, whole and cut anywhere, in messages, titles and imports"""
    page = open_page(stage.address)
    corpus = (HERE / "data/xss.txt").read_text()
    rng = random.Random(5)
    cuts = sorted(rng.sample(range(1, len(corpus)), 300))
    stage.script += [[corpus], [corpus[a:b] for a, b in zip([0] + cuts, cuts + [len(corpus)])]]
    ask(page, corpus)
    ask(page, "again")
    for line in corpus.splitlines():        # each alone: none hides in another's code block
        page.eval(f"renderWhole(document.querySelector('.message.last .text'), {json.dumps(line)}, 0)")
    page.eval(f"chat.conversation.title = {json.dumps(corpus)}; listConversations(); chat.refresh(); notice({json.dumps(corpus)}); toast({json.dumps(corpus)})")
    page.eval("new Promise((done) => setTimeout(done, 300))")
    assert page.eval("window.xss") is None
    tags = page.eval("[...new Set([...document.querySelectorAll('.text *')].map((n) => n.localName))]")
    allowed = set("div p h3 h4 h5 h6 hr br a code pre span button strong em del ul ol li blockquote table thead tbody tr th td".split())
    assert set(tags) <= allowed, set(tags) - allowed
    attributes = page.eval("[...new Set([...document.querySelectorAll('.text *')].flatMap((n) => [...n.attributes].map((a) => a.name)))]")
    assert set(attributes) <= set("class href target rel type tabindex start scope role aria-label data-t".split()), attributes
    links = page.eval("[...document.querySelectorAll('.text a')].map((n) => n.protocol)")
    assert links and set(links) <= {"http:", "https:", "mailto:"}, links
    assert all(u.startswith(stage.address) for u in page.requests), page.requests
    assert page.eval("document.querySelector('.message.user .text').textContent").strip() == corpus.strip()
    quiet(page)
    page.close()


def markdown():
    """markdown: the same nodes whether it comes whole or letter by letter"""
    page = open_page(stage.address)
    text = (HERE / "data/markdown.md").read_text()
    html = page.eval(f"""(() => {{
        const render = (pieces) => {{ const root = document.createElement('div'), md = new Markdown(root); for (const p of pieces) md.write(p); md.end(); return root; }};
        const text = {json.dumps(text)}, clean = (n) => n.innerHTML;
        const whole = clean(render([text]));
        return [whole, whole === clean(render([...text])), whole === clean(render(text.match(/[^]{{1,7}}/g)))];
    }})()""")
    assert html[1] and html[2], "pieces change the result"
    for want in ("<h3>Title</h3>", "<strong>bold</strong>", "<em>soft</em>", "<del>gone</del>", '<ol start="3">', "<blockquote>", "<hr>",
                 'href="https://example.org/a_b"', "<td class=\"right\">2</td>", "a &lt; b", "snake_case_name", "2 * 3 * 4", "<code>x | y</code>",
                 "<li>outer<", "<ul><li>inner</li></ul>"):
        assert want in html[0], (want, html[0])
    quiet(page)
    page.close()


def two_megabytes():
    """two megabytes of streamed markdown: the page goes on answering, and all of it is shown"""
    page = open_page(stage.address)
    part = (HERE / "data/markdown.md").read_text()
    block = part + "\n" + "word " * 200 + "\n\n```c\n" + "int x = 1; /* a line of code */\n" * 40 + "```\n\n"
    text = block * (2_000_000 // len(block) + 1) + "\nThe end of it.\n"
    stage.script.append([text[i:i + 4000] for i in range(0, len(text), 4000)])
    page.eval("window.frames_seen = 0; (function count() { frames_seen++; requestAnimationFrame(count); })(); longTasks.length = 0")
    ask(page, "much", wait=False)
    page.wait("chat.conversation.messages.length === 2 && chat.conversation.messages[1].text.length > 200000")
    page.click("#input")            # the page takes input while it comes
    page.type("typed meanwhile")
    assert page.eval("$('input').value") == "typed meanwhile"
    page.wait(f"chat.abort === null", timeout=180)
    assert last(page)["text"] == text
    page.wait("document.querySelector('.message.last .text').lastChild.textContent.includes('The end of it.')")
    tasks, frames = page.eval("longTasks"), page.eval("frames_seen")
    print(f"# {len(text)} characters, {page.eval('document.querySelectorAll(`.text *`).length')} nodes, {frames} frames; "
          f"long tasks (> 50 ms): {len(tasks)}, longest {max(tasks, default=0):.0f} ms, above 200 ms: {sum(x > 200 for x in tasks)}")
    quiet(page)
    page.close()


CONTRAST = """(() => {
    const parse = (c) => { const m = c.match(/[\\d.]+/g).map(Number); return { r: m[0], g: m[1], b: m[2], a: m[3] ?? 1 }; };
    const over = (top, under) => ({ r: top.r * top.a + under.r * (1 - top.a), g: top.g * top.a + under.g * (1 - top.a), b: top.b * top.a + under.b * (1 - top.a), a: 1 });
    const light = ({ r, g, b }) => { const f = (x) => { x /= 255; return x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4; }; return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
    const bad = [];
    let seen = 0;
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node; (node = walker.nextNode());) {
        const e = node.parentElement;
        if (!node.data.trim() || !e.checkVisibility({ opacityProperty: true, visibilityProperty: true }) || e.closest('.hidden, .skip, :disabled, option, [inert]')) continue;
        const layers = [];
        for (let n = e; n; n = n.parentElement) { const c = parse(getComputedStyle(n).backgroundColor); layers.push(c); if (c.a === 1) break; }
        const back = layers.reverse().reduce((under, top) => over(top, under), { r: 255, g: 255, b: 255, a: 1 });
        const style = getComputedStyle(e), front = over(parse(style.color), back), a = light(front), b = light(back);
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), size = parseFloat(style.fontSize);
        const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
        seen++;
        if (ratio < (large ? 3 : 4.5)) bad.push([node.data.trim().slice(0, 40), ratio.toFixed(2), e.className || e.id || e.localName]);
    }
    return [seen, bad];
})()"""

STRUCTURE = """(() => {
    const bad = [], ids = new Set();
    const visible = (n) => n.checkVisibility({ visibilityProperty: true });
    for (const n of document.querySelectorAll('[id]')) { if (ids.has(n.id)) bad.push('double id ' + n.id); ids.add(n.id); }
    for (const n of document.querySelectorAll('input, textarea, select')) if (n.type !== 'file' && !n.labels?.length && !n.getAttribute('aria-label')) bad.push('no label: ' + n.id);
    for (const n of document.querySelectorAll('[tabindex]')) if (n.tabIndex > 0) bad.push('tabindex ' + n.tabIndex);
    for (const n of document.querySelectorAll('[aria-labelledby], [aria-controls]')) for (const a of ['aria-labelledby', 'aria-controls']) if (n.hasAttribute(a) && !document.getElementById(n.getAttribute(a))) bad.push('dangling ' + a);
    for (const n of document.querySelectorAll('button')) if (visible(n)) { const r = n.getBoundingClientRect(); if (r.width < 24 || r.height < 24) bad.push(`small target ${n.id || n.className}: ${r.width}x${r.height}`); }
    for (const n of document.querySelectorAll('svg')) if (!n.hasAttribute('aria-hidden') && !n.getAttribute('aria-label')) bad.push('svg without name');
    for (const n of document.querySelectorAll('button button, a button, button a')) bad.push('nested control');
    if (document.querySelectorAll('main:not([hidden])').length !== 1) bad.push('main');
    if (!document.title || !document.documentElement.lang) bad.push('title or lang');
    let level = 0;
    for (const n of document.querySelectorAll('main:not([hidden]) :is(h1,h2,h3,h4,h5,h6)')) { const l = Number(n.localName[1]); if (visible(n) && l > level + 1 && !n.closest('.text')) bad.push(`heading ${n.localName} after h${level}`); if (visible(n)) level = l; }
    if (document.documentElement.scrollWidth > innerWidth) bad.push('scrolls sideways');
    return bad;
})()"""


def nameless(page):
    """Controls and pictures of the accessibility tree without a name."""
    tree = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "link", "textbox", "searchbox", "combobox", "checkbox", "spinbutton", "image", "dialog", "navigation", "region", "log", "article"}
    return [n["role"]["value"] for n in tree
            if not n.get("ignored") and n.get("role", {}).get("value") in roles and not n.get("name", {}).get("value", "").strip()]


def check_access(page, where):
    seen, low = page.eval(CONTRAST)
    assert seen > 5 and not low, (where, low)
    bad = page.eval(STRUCTURE)
    assert not bad, (where, bad)
    assert not nameless(page), (where, nameless(page))


def access():
    """names, labels, headings, targets, contrast: chat, operations and dialogs, both themes and languages and widths"""
    for language, dark, phone in (("en-US", False, False), ("ko-KR", True, False), ("en-US", True, True), ("ko-KR", False, True)):
        page = open_page(language=language, dark=dark, width=390 if phone else 1280, height=844 if phone else 800, phone=phone)
        where = (language, "dark" if dark else "light", "phone" if phone else "desktop")
        check_access(page, where + ("empty",))
        ask(page, STORY)
        page.eval(f"renderWhole(document.querySelector('.message.last .text'), {json.dumps((HERE / 'data/markdown.md').read_text())}, 1)")
        check_access(page, where + ("chat",))
        page.eval("notice('something', 'act', () => {}); toast('something', () => {})")
        check_access(page, where + ("notice",))
        page.eval("hideNotice(); $('toast').hidden = true")
        page.click("#settings-open")
        check_access(page, where + ("settings",))
        page.key("Escape")
        page.click("#tab-ops")
        page.wait("document.querySelectorAll('.chart rect').length")
        check_access(page, where + ("ops",))
        if phone:
            page.click("#side-open")
            check_access(page, where + ("list",))
        quiet(page)
        page.close()


def keyboard():
    """everything by keyboard: order of focus, visible focus, dialogs hold it, the phone's list too"""
    page = open_page()
    ask(page, "Hello!")
    page.eval("document.activeElement.blur()")
    order, shown = [], []
    for _ in range(40):
        page.key("Tab")
        order.append(page.eval("document.activeElement.id || document.activeElement.className"))
        shown.append(page.eval("getComputedStyle(document.activeElement).outlineStyle !== 'none' || document.activeElement.id === 'input'"))
        if order[-1] == "input":
            break
    want = ["skip", "new", "open-it", "export", "import", "tab-chat", "tab-ops", "language", "theme", "settings-open", "scroll", "input"]
    places = [order.index(w) for w in want]
    assert places == sorted(places), order
    assert all(s for o, s in zip(order, shown) if o), list(zip(order, shown))
    page.eval("$('settings-open').focus()")
    page.key("Enter")
    page.wait("$('settings').open")
    for _ in range(30):
        page.key("Tab")
        assert page.eval("document.activeElement === document.body || $('settings').contains(document.activeElement)")
    page.key("Escape")
    assert page.eval("document.activeElement.id") == "settings-open"
    page.eval("$('tab-ops').focus()")
    page.key(" ")
    page.wait("!$('ops').hidden && $('tab-ops').getAttribute('aria-current') === 'page'")
    quiet(page)
    page.close()
    page = open_page(width=390, height=844, phone=True)
    page.eval("$('side-open').focus()")
    page.key("Enter")
    assert page.eval("document.activeElement.id") == "side-close"
    page.key("Escape")
    assert page.eval("document.activeElement.id === 'side-open' && $('side').inert")
    page.close()


@contextlib.contextmanager
def work():
    """Six clients at work, so that a picture of the operations view shows some."""
    over = threading.Event()

    def client():
        while not over.is_set():
            server.post("/v1/completions", {"prompt": STORY, "max_tokens": 300, "ignore_eos": True})
    threads = [threading.Thread(target=client) for _ in range(6)]
    for t in threads:
        t.start()
    try:
        yield
    finally:
        over.set()
        for t in threads:
            t.join()


def pictures():
    """pictures of every width, theme and language"""
    pathlib.Path(shots).mkdir(parents=True, exist_ok=True)
    for phone in (False, True):
        for dark in (False, True):
            for language in ("en", "ko"):
                name = f"{'phone' if phone else 'desktop'}-{'dark' if dark else 'light'}-{language}"
                page = open_page(language={"en": "en-US", "ko": "ko-KR"}[language], dark=dark, phone=phone,
                                 width=390 if phone else 1280, height=760 if phone else 780)
                page.eval("settings.values.sampling = { temperature: 0, max_tokens: 70 }")
                ask(page, STORY if language == "en" else "안녕하세요!")
                ask(page, "Hello! What is your name?" if language == "en" else "오늘 기분이 어때?")
                page.eval("document.activeElement.blur()")
                page.screenshot(f"{shots}/page-chat-{name}.png")
                if dark == phone ^ (language == "ko"):       # half of them: the rest differs in colour only
                    with work():
                        page.click("#tab-ops")
                        page.wait("ops.last && ops.last.requests.running === 4 && ops.rates.length > 2")
                        page.screenshot(f"{shots}/page-ops-{name}.png")
                quiet(page)
                page.close()
    sizes = [f.stat().st_size for f in pathlib.Path(shots).glob("page-*.png")]
    assert len(sizes) == 12 and min(sizes) > 5000, sizes


with server, contextlib.closing(chromium):
    run_tests([delivery, talk, edits, stop, many, export_import, settings, operations, failures, keys, inert, markdown, two_megabytes,
               access, keyboard, pictures])
