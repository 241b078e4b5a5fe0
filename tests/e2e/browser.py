"""Drives a headless Chromium through its DevTools protocol over a pipe: no driver, no package beyond Python.

Messages are JSON ended by NUL on descriptors 3 (to the browser) and 4 (from it). Every wait has an end."""
import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

PATIENCE = 60.0
FIND = "const q = (s) => { const n = document.querySelector(s); if (!n) throw new Error('no ' + s); return n; };"


def program():
    return next((p for p in (shutil.which("chromium"), shutil.which("chromium-browser")) if p), None)


class Browser:
    def __init__(self):
        self.dir = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_read, self.to_browser = os.pipe()
        self.from_browser, from_write = os.pipe()
        sandbox = ["--no-sandbox"] if os.getuid() == 0 else []

        def descriptors():      # the pipes may lie on 3 and 4 themselves: move them away first
            a, b = os.dup(to_read), os.dup(from_write)
            a, b = (os.dup(a), os.dup(b)) if {a, b} & {3, 4} else (a, b)
            os.dup2(a, 3)
            os.dup2(b, 4)

        self.process = subprocess.Popen(
            [program(), "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={self.dir.name}/profile", "--no-first-run",
             "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--disable-default-apps", "--disable-extensions", "--mute-audio", "--hide-scrollbars", "--force-color-profile=srgb",
             "--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", *sandbox, "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, close_fds=False, preexec_fn=descriptors)
        os.close(to_read)
        os.close(from_write)
        self.buffer, self.next_id, self.pages = b"", 0, {}
        self.downloads = os.path.join(self.dir.name, "downloads")
        os.mkdir(self.downloads)

    def read(self, timeout):
        """One message from the browser, None if none comes in time."""
        end = time.monotonic() + timeout
        while b"\0" not in self.buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.from_browser], [], [], left)[0]:
                return None
            data = os.read(self.from_browser, 1 << 20)
            assert data, "the browser ended"
            self.buffer += data
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def call(self, method, session=None, **params):
        self.next_id += 1
        message = {"id": self.next_id, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.to_browser, data):]
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            answer = self.read(end - time.monotonic())
            if answer is None:
                break
            if answer.get("id") == message["id"]:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self.event(answer)
        raise AssertionError(f"{method}: no answer within {PATIENCE:.0f} s")

    def event(self, message):
        page = self.pages.get(message.get("sessionId"))
        if page:
            page.event(message["method"], message["params"])

    def close(self):
        try:
            self.call("Browser.close")
            self.process.wait(10)
        except Exception:
            self.process.kill()
            self.process.wait()
        os.close(self.to_browser)
        os.close(self.from_browser)
        self.dir.cleanup()


class Page:
    """A tab in a profile of its own."""

    def __init__(self, browser, url, width=1280, height=800, dark=False, language="en-US", phone=False, scale=1):
        self.browser, self.errors, self.requests = browser, [], []
        context = browser.call("Target.createBrowserContext")["browserContextId"]
        target = browser.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        self.target = target
        self.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        browser.pages[self.session] = self
        for domain in ("Page", "Runtime", "Log", "Network", "DOM", "Accessibility"):
            self.call(f"{domain}.enable")
        agent = browser.call("Browser.getVersion")["userAgent"]
        self.call("Emulation.setUserAgentOverride", userAgent=agent, acceptLanguage=language)
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone)
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        self.media(dark)
        browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=browser.downloads, browserContextId=context)
        self.call("Page.addScriptToEvaluateOnNewDocument", source=
                  "window.longTasks = []; new PerformanceObserver((l) => longTasks.push(...l.getEntries().map((e) => e.duration)))"
                  ".observe({ type: 'longtask', buffered: true });")
        self.call("Page.navigate", url=url)
        self.wait("document.documentElement.dataset.started === 'true'")

    def media(self, dark):
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
                                                          {"name": "prefers-reduced-motion", "value": "reduce"}])

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def event(self, method, params):
        if method == "Runtime.exceptionThrown":
            d = params["exceptionDetails"]
            self.errors.append(("exception", d.get("exception", {}).get("description") or d["text"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append((params["entry"]["source"], params["entry"]["text"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.errors.append(("console", json.dumps(params["args"])[:500]))
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])

    def eval(self, code):
        """The value of an expression (promises are awaited)."""
        result = self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise AssertionError(f"{code[:200]}: {result['exceptionDetails'].get('exception', {}).get('description', result)}")
        return result["result"].get("value")

    def wait(self, condition, timeout=PATIENCE):
        """Until the condition holds; while a document is being loaded, nothing holds."""
        end = time.monotonic() + timeout
        while not self.eval(f"(() => {{ try {{ return !!({condition}); }} catch {{ return false; }} }})()"):
            assert time.monotonic() < end, f"never true: {condition}"
            time.sleep(0.03)

    def click(self, selector):
        """A real click in the middle of the element; it must be the one that is hit."""
        at = self.eval("(() => {" + FIND + f"const n = q({json.dumps(selector)}); n.scrollIntoView({{ block: 'nearest' }});"
                       "const r = n.getBoundingClientRect(), x = r.x + r.width / 2, y = r.y + r.height / 2;"
                       "const hit = document.elementFromPoint(x, y);"
                       "return { x, y, ok: !!hit && (n.contains(hit) || hit.contains(n)), hit: hit && (hit.id || hit.className) }; })()")
        assert at["ok"], f"{selector} is covered by {at['hit']}"
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=at["x"], y=at["y"], button="left", clickCount=1)

    def hover(self, selector):
        at = self.eval("(() => {" + FIND + f"const r = q({json.dumps(selector)}).getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()")
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=at[0], y=at[1])

    def type(self, text):
        self.call("Input.insertText", text=text)

    def key(self, key, modifiers=0):
        codes = {"Enter": (13, "\r"), "Tab": (9, ""), "Escape": (27, ""), " ": (32, " ")}
        code, text = codes[key]
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", key=key, code={" ": "Space"}.get(key, key),
                  windowsVirtualKeyCode=code, text=text, modifiers=modifiers)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=code, modifiers=modifiers)

    def screenshot(self, path):
        data = self.call("Page.captureScreenshot", format="png")["data"]
        with open(path, "wb") as f:
            f.write(base64.b64decode(data))

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)
