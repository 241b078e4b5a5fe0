"use strict";
/* The conversation: messages on the page, one answer at a time. */
const FRAME_MS = 8, SLICE = 4096, RETRIES = 3;
const $ = (id) => document.getElementById(id);

function icon(name) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
    svg.setAttribute("class", "icon");
    svg.setAttribute("aria-hidden", "true");
    use.setAttribute("href", `#i-${name}`);
    svg.append(use);
    return svg;
}

/* Text on its way into a Markdown, in slices of a frame's time: a page of two megabytes stays usable. */
class Pump {
    constructor(root, shown) {
        this.md = new Markdown(root);
        this.shown = shown || (() => {});
        this.rest = "";
        this.frame = 0;
        this.over = false;
        this.done = new Promise((resolve) => { this.resolve = resolve; });
    }
    push(text) {
        this.rest += text;
        this.frame ||= requestAnimationFrame(() => this.flush());
    }
    end() {
        this.over = true;
        this.push("");
        return this.done;
    }
    flush() {
        const until = performance.now() + FRAME_MS;
        let at = 0;
        do {
            this.md.write(this.rest.slice(at, at + SLICE));
            at += SLICE;
        } while (at < this.rest.length && performance.now() < until);
        this.rest = this.rest.slice(at);
        this.frame = 0;
        if (this.rest) this.push("");
        else if (this.over) {
            this.md.end();
            this.resolve();
        }
        this.shown();
    }
}

const chat = {
    conversation: null,
    abort: null,       // of the answer that is coming
    stick: true,       // the reader is at the end: follow it

    show(conversation) {
        if (this.abort && this.conversation !== conversation) this.stop();
        this.conversation = conversation;
        $("thread").replaceChildren(...conversation.messages.map((m, i) => this.node(m, i)));
        this.stick = true;
        hideNotice();
        this.refresh();
        this.toEnd();
    },

    refresh() {
        const c = this.conversation, empty = c.messages.length === 0;
        $("welcome").hidden = !empty;
        $("chat-title").textContent = c.title || t("untitled");
        document.title = c.title ? `${c.title} – Naru` : "Naru";
        $("send").hidden = !!this.abort;
        $("stop").hidden = !this.abort;
        $("send").disabled = !$("input").value.trim();
        $("thread").classList.toggle("busy", !!this.abort);
        [...$("thread").children].forEach((n, i, all) => n.classList.toggle("last", i === all.length - 1));
    },

    toEnd() {
        const s = $("scroll");
        if (this.stick) s.scrollTop = s.scrollHeight;
    },

    /* --- a message on the page --- */
    node(m, index) {
        const body = el("div", { className: "text" });
        const node = el("article", { className: `message ${m.role}`, "aria-label": t(m.role === "user" ? "you" : "assistant") });
        if (m.role === "assistant") node.append(el("span", { className: "avatar", "aria-hidden": "true" }, icon("boat")));
        const column = el("div", { className: "column" });
        node.append(column);
        if (m.reasoning !== undefined) column.append(this.reasoning(m.reasoning, false));
        column.append(body, el("div", { className: "foot" }));
        if (m.role === "user") body.textContent = m.text;
        else if (m.text) {
            const pump = new Pump(body, () => this.toEnd());     // its beginning at once, a long rest later
            pump.rest = m.text;
            pump.over = true;
            pump.flush();
        }
        this.foot(node, m, index);
        return node;
    },

    reasoning(text, open) {
        return el("details", { className: "reasoning", open }, el("summary", { "data-t": "reasoning" }, t("reasoning")), el("p", null, text));
    },

    foot(node, m, index) {
        const button = (name, key, run) => el("button", { className: "plain act", type: "button", "data-t-label": key, "aria-label": t(key), title: t(key), onclick: run }, icon(name));
        const foot = node.querySelector(".foot");
        foot.replaceChildren();
        if (m.role === "assistant" && (m.stats || m.end)) foot.append(el("p", { className: "stats" }, ...statWords(m)));
        const acts = el("div", { className: "acts" });
        acts.append(button("copy", "copy", (e) => copyText(m.text, e.currentTarget)));
        if (m.role === "user") acts.append(button("edit", "edit", () => this.edit(index)));
        else acts.append(button("again", "again", () => this.again(index)));
        if (m.role === "assistant" && (m.end === "length" || m.end === "stopped"))
            acts.append(el("button", { className: "link go-on", type: "button", "data-t": "goOn", onclick: () => this.goOn(index) }, t("goOn")));
        foot.append(acts);
    },

    /* --- what the user does --- */
    async send(text) {
        const c = this.conversation;
        if (!text.trim() || this.abort) return;
        if (!c.title) c.title = text.trim().split("\n")[0].slice(0, 60);
        c.messages.push({ role: "user", text: text.trim() });
        $("thread").append(this.node(c.messages.at(-1), c.messages.length - 1));
        this.stick = true;
        await this.answer();
    },

    stop() { this.abort?.abort(); },

    /* The answer at index anew; what followed it goes. */
    async again(index) {
        if (this.abort) return;
        const c = this.conversation, before = structuredClone(c);
        c.messages.length = index;
        this.show(c);
        toast(t("replaced"), () => this.restore(before));
        await this.answer();
    },

    edit(index) {
        if (this.abort) return;
        const c = this.conversation, node = $("thread").children[index];
        const area = el("textarea", { className: "edit", value: c.messages[index].text, rows: 3, "aria-label": t("edit") });
        const form = el("form", { className: "edit-form" }, area, el("div", { className: "panel-end" },
            el("button", { className: "link", type: "button", onclick: () => this.show(c) }, t("cancel")),
            el("button", { className: "primary" }, t("sendEdit"))));
        form.onsubmit = async (e) => {
            e.preventDefault();
            if (!area.value.trim()) return;
            const before = structuredClone(c);
            c.messages.length = index;
            this.show(c);
            if (before.messages.length > index + 2) toast(t("cutOff"), () => this.restore(before));
            await this.send(area.value);
        };
        area.onkeydown = (e) => {
            if (e.key === "Escape") { e.stopPropagation(); this.show(c); $("input").focus(); }
            if (e.key === "Enter" && !e.shiftKey && !e.isComposing) { e.preventDefault(); form.requestSubmit(); }
        };
        node.querySelector(".column").replaceChildren(form);
        area.focus();
    },

    async restore(before) {
        this.stop();
        await store.put(before);
        listConversations();
        this.show(before);
    },

    async goOn(index) {
        if (this.abort) return;
        await this.answer(index);
    },

    /* --- the answer --- */
    request(goesOn) {
        const c = this.conversation, messages = c.messages.filter((m) => m.text || m.role === "user").map((m) => ({ role: m.role, content: m.text }));
        if (c.system.trim()) messages.unshift({ role: "system", content: c.system });
        const body = { messages, ...sampling() };
        if (server.model) body.model = server.model;
        if (goesOn) Object.assign(body, { continue_final_message: true, add_generation_prompt: false });
        return body;
    },

    async answer(goesOnAt = -1) {
        const c = this.conversation, goesOn = goesOnAt >= 0, abort = this.abort = new AbortController();
        const body = this.request(goesOn);
        let m = { role: "assistant", text: "" }, index = c.messages.length;
        if (goesOn) {
            index = goesOnAt;
            m = c.messages[index];
            delete m.end;
        } else {
            c.messages.push(m);
            $("thread").append(this.node(m, index));
        }
        const node = $("thread").children[index], text = node.querySelector(".text");
        if (goesOn) text.replaceChildren();
        node.classList.add("coming");
        node.querySelector(".foot").replaceChildren(el("p", { className: "wait" }, t("reading")));
        hideNotice();
        this.refresh();
        this.toEnd();
        say(t("answering"));
        const pump = new Pump(text, () => this.toEnd());
        pump.push(m.text);
        let failure = null;
        try {
            const { end, stats } = await this.withRetries(() => streamChat(body, abort.signal, {
                text: (s) => { if (!m.text) node.querySelector(".wait")?.remove(); m.text += s; pump.push(s); },
                reasoning: (s) => this.addReasoning(node, m, s),
            }), abort.signal);
            m.end = end || "stop";
            m.stats = stats;
        } catch (e) {
            if (e.name === "AbortError") m.end = "stopped";
            else {
                failure = e instanceof Failure ? e : new Failure("server", e.message);
                m.end = "error";
            }
        }
        await pump.end();
        this.finish(c, node, m, index, failure);
    },

    finish(c, node, m, index, failure) {
        this.abort = null;
        node.classList.remove("coming");
        if (!m.text && m.end === "error") {
            c.messages.splice(index, 1);
            node.remove();
        } else {
            this.foot(node, m, index);
        }
        c.updated = Date.now();
        store.put(c);
        listConversations();
        say(failure ? "" : t("answered"));
        if (this.conversation === c) {
            this.refresh();
            this.toEnd();
            if (failure) this.complain(failure);
        }
        server.look();
    },

    addReasoning(node, m, s) {
        node.querySelector(".wait")?.remove();
        if (m.reasoning === undefined) node.querySelector(".text").before(this.reasoning("", true));
        m.reasoning = (m.reasoning || "") + s;
        node.querySelector(".reasoning p").append(s);
        this.toEnd();
    },

    /* A busy server says when to come back. */
    async withRetries(run, signal) {
        for (let i = 0; ; i++) {
            try {
                return await run();
            } catch (e) {
                if (e.kind !== "busy" || i === RETRIES) throw e;
                const wait = Math.min(10000, e.retryMs * (i + 1));
                notice(t("errBusy", { s: Math.ceil(wait / 1000) }));
                await new Promise((resolve, reject) => {
                    setTimeout(resolve, wait);
                    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
                });
                hideNotice();
            }
        }
    },

    complain(failure) {
        const again = () => {
            const last = this.conversation.messages.at(-1);
            if (last?.role === "assistant") this.again(this.conversation.messages.length - 1);
            else this.answer();
        };
        const texts = { offline: "errOffline", busy: "errBusyEnd", cut: "errCut", long: "errLong", server: "errServer" };
        if (failure.kind === "key") notice(t(settings.values.key ? "errKeyWrong" : "errKey"), t("enterKey"), () => openSettings("s-key"));
        else notice(t(texts[failure.kind], { message: failure.message }), t("retry"), again);
    },
};

/* "14 tokens · 820 tokens/s · first token 12 ms · 18/20 cached" */
function statWords(m) {
    const s = m.stats, words = [];
    if (m.end === "stopped") words.push(t("stopped"));
    if (m.end === "length") words.push(t("cut"));
    if (s?.completion) {
        words.push(t("tokens", { n: count(s.completion) }));
        if (s.decode > 0 && s.completion > 1) words.push(t("speed", { x: rate((s.completion - 1) / s.decode) }));
        if (s.ttft) words.push(t("ttft", { x: seconds(s.ttft) }));
        words.push(t("cachedShort", { n: count(s.cached), m: count(s.prompt) }));
    }
    return words.map((w, i) => el("span", { title: i && w.includes("/") && s ? t("cached", { n: s.cached, m: s.prompt }) : "" }, w));
}

function rate(x) { return x > 0.05 && x < 10 ? x.toFixed(1) : count(Math.round(x)); }

async function copyText(text, button) {
    try {
        await navigator.clipboard.writeText(text);
    } catch {                       // no permission, or no secure context: the old way
        const area = el("textarea", { value: text, className: "hidden" });
        document.body.append(area);
        area.select();
        document.execCommand("copy");
        area.remove();
    }
    say(t("copied"));
    button.classList.add("did");
    setTimeout(() => button.classList.remove("did"), 1200);
}

/* --- sampling fields: name, step, least, most --- */
const SAMPLING = [["temperature", 0.1, 0, 2], ["top_p", 0.05, 0, 1], ["top_k", 1, 0, 100000], ["min_p", 0.01, 0, 1],
                  ["repetition_penalty", 0.05, 0.05, 100], ["max_tokens", 1, 1, 1000000], ["seed", 1, 0, 9007199254740991], ["stop"]];

function sampling() {
    const out = {};
    for (const [name] of SAMPLING) {
        const v = settings.values.sampling[name];
        if (v !== undefined && v !== "") out[name] = name === "stop" ? [v] : v;
    }
    return out;
}

function samplingFields() {
    $("s-sampling").replaceChildren(...SAMPLING.map(([name, step, min, max]) => {
        const input = el("input", { id: `s-${name}`, type: step ? "number" : "text", autocomplete: "off", "data-t-hint": "optional", value: settings.values.sampling[name] ?? "" });
        if (step) Object.assign(input, { step: "any", min, max });
        input.oninput = () => {
            const ok = input.checkValidity();
            input.toggleAttribute("aria-invalid", !ok);
            if (!ok) return;
            if (input.value === "") delete settings.values.sampling[name];
            else settings.values.sampling[name] = step ? Number(input.value) : input.value;
            settings.save();
        };
        return el("div", { className: "field" }, el("label", { htmlFor: input.id, "data-t": name === "stop" ? "stopText" : name }, t(name === "stop" ? "stopText" : name)), input);
    }));
    translate($("s-sampling"));
}
