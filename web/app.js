"use strict";
/* What holds the page together: theme, language, list of conversations, dialogs, the state of the server. */

function say(text) { $("say").textContent = text; }

let toastTimer = 0;
function toast(text, undo) {
    clearTimeout(toastTimer);
    $("toast-text").textContent = text;
    $("toast-act").hidden = !undo;
    $("toast-act").onclick = () => { $("toast").hidden = true; undo?.(); };
    $("toast").hidden = false;
    toastTimer = setTimeout(() => { $("toast").hidden = true; }, 8000);
}

function notice(text, act, run) {
    $("notice-text").textContent = text;
    $("notice-act").hidden = !act;
    $("notice-act").textContent = act || "";
    $("notice-act").onclick = () => { hideNotice(); run?.(); };
    $("notice").hidden = false;
}
function hideNotice() { $("notice").hidden = true; }

/* --- the server --- */
const server = {
    model: null, models: [], state: "connecting", timer: 0,

    async look() {
        clearTimeout(this.timer);
        let state = "ready";
        try {
            await getJson("/ready");
            if (!this.models.length) await this.findModels();
        } catch (e) {
            state = { offline: "offline", busy: "draining", key: "locked" }[e.kind] || "offline";
        }
        this.set(state);
        this.timer = setTimeout(() => this.look(), document.hidden ? 60000 : state === "ready" ? 15000 : 2000);
    },

    async findModels() {
        this.models = (await getJson("/v1/models")).data.map((m) => m.id);
        this.model = this.models.includes(settings.values.model) ? settings.values.model : this.models[0];
        $("s-model").replaceChildren(...this.models.map((id) => el("option", { value: id, textContent: id, selected: id === this.model })));
        welcome();
    },

    set(state) {
        this.state = state;
        $("server").dataset.state = state;
        $("server-text").textContent = t(state, { model: this.model || "" });
        if (!this.model) welcome();
    },
};

function welcome() {
    $("welcome-title").textContent = t("welcome");
    $("welcome-text").textContent = server.model ? t("welcomeText", { model: server.model })
        : t({ locked: "errKey", offline: "errOffline" }[server.state] || "welcomeWait");
    $("ideas").replaceChildren(...[1, 2, 3, 4].map((i) => el("li", null,
        el("button", { type: "button", className: "idea", onclick: () => chat.send(t(`idea${i}`)) }, t(`idea${i}`)))));
}

/* --- theme and language --- */
function setTheme(theme) {
    settings.values.theme = theme;
    document.documentElement.dataset.theme = theme;
    $("theme").querySelector("use").setAttribute("href", { light: "#i-sun", dark: "#i-moon", auto: "#i-auto" }[theme]);
    $("theme").setAttribute("aria-label", t(theme));
    $("theme").title = t(theme);
}

function setLanguage(code) {
    language = code;
    document.documentElement.lang = code;
    $("language").textContent = code === "en" ? "한국어" : "English";
    $("language").lang = code === "en" ? "ko" : "en";
    translate();
    setTheme(settings.values.theme);
    welcome();
    server.set(server.state);
    listConversations();
    if (chat.conversation && !chat.abort) chat.show(chat.conversation);
    if (ops.built) {
        ops.build();
        if (ops.last) ops.draw(ops.last);
    }
}

/* --- conversations --- */
function listConversations() {
    const items = store.all().map((c) => {
        const title = c.title || t("untitled"), current = c.id === chat.conversation?.id;
        const act = (name, key, run) => el("button", { className: "plain act", type: "button", "aria-label": `${t(key)}: ${title}`, title: t(key), onclick: run }, icon(name));
        return el("li", { className: current ? "current" : "" },
            el("button", { className: "open-it", type: "button", "aria-current": current ? "true" : null, onclick: () => openConversation(c) }, title),
            act("edit", "rename", () => renameConversation(c)), act("trash", "remove", () => removeConversation(c)));
    });
    $("list").replaceChildren(...(items.length ? items : [el("li", { className: "fine" }, t("noConversations"))]));
}

function openConversation(c) {
    closeSide();
    showView("chat");
    if (chat.conversation !== c) chat.show(c);
    listConversations();
    if (matchMedia("(min-width: 800px)").matches) $("input").focus();
}

function newConversation() {
    openConversation(store.fresh());
    $("input").focus();
}

async function removeConversation(c) {
    if (chat.conversation === c) {
        chat.stop();
        chat.show(store.all().find((x) => x !== c) || store.fresh());
    }
    await store.remove(c.id);
    listConversations();
    toast(t("deleted"), async () => {
        await store.put(c);
        openConversation(c);
    });
}

function renameConversation(c) {
    const dialog = $("rename");
    $("rename-input").value = c.title;
    dialog.returnValue = "";
    dialog.onclose = async () => {
        if (dialog.returnValue !== "ok") return;
        c.title = $("rename-input").value.trim();
        await store.put(c);
        listConversations();
        chat.refresh();
    };
    dialog.showModal();
    $("rename-input").select();
}

function exportAll() {
    const url = URL.createObjectURL(new Blob([store.exported()], { type: "application/json" }));
    const a = el("a", { href: url, download: `naru-conversations-${new Date().toISOString().slice(0, 10)}.json` });
    a.click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
}

async function importFile(file) {
    try {
        if (file.size > IMPORT_BYTES_MAX) throw new Error(bytes(file.size));
        const n = await store.take(await file.text());
        listConversations();
        toast(t("imported", { n }));
    } catch (e) {
        notice(t("importBad", { why: e.message.slice(0, 200) }));
    }
}

/* --- dialogs, side, views --- */
function openSettings(focus) {
    samplingFields();
    $("s-system").value = chat.conversation.system;
    $("s-key").value = settings.values.key;
    $("s-key-keep").checked = !!settings.values.keepKey;
    $("settings").showModal();
    if (focus) $(focus).focus();
}

function closeSide() {
    document.body.classList.remove("side-shown");
    $("side-open").setAttribute("aria-expanded", "false");
    sideFocus();
}
function openSide() {
    document.body.classList.add("side-shown");
    $("side-open").setAttribute("aria-expanded", "true");
    sideFocus();
    $("side-close").focus();
}
/* On a phone the list lies outside the screen while it is closed: nothing in it may get the focus. */
function sideFocus() {
    const phone = matchMedia("(max-width: 799px)").matches, shown = document.body.classList.contains("side-shown");
    $("side").inert = phone && !shown;
    document.querySelector(".body").inert = phone && shown;
}

function showView(name) {
    const isOps = name === "ops";
    $("chat").hidden = isOps;
    $("ops").hidden = !isOps;
    for (const [id, on] of [["tab-chat", !isOps], ["tab-ops", isOps]]) {
        if (on) $(id).setAttribute("aria-current", "page");
        else $(id).removeAttribute("aria-current");
    }
    if (location.hash !== (isOps ? "#ops" : "#chat")) history.replaceState(null, "", isOps ? "#ops" : "#chat");
    ops.show(isOps);
}

function growInput() {
    const input = $("input");
    input.style.height = "auto";
    input.style.height = `${Math.min(input.scrollHeight, innerHeight * 0.4)}px`;
    $("send").disabled = !input.value.trim();
}

function wire() {
    $("compose").onsubmit = (e) => {
        e.preventDefault();
        const text = $("input").value;
        if (chat.abort || !text.trim()) return;
        $("input").value = "";
        growInput();
        chat.send(text);
    };
    $("input").oninput = growInput;
    $("input").onkeydown = (e) => {          // isComposing: Enter ends a Korean syllable, not the message
        if (e.key === "Enter" && !e.shiftKey && !e.isComposing) {
            e.preventDefault();
            $("compose").requestSubmit();
        }
    };
    $("stop").onclick = () => { chat.stop(); $("input").focus(); };
    document.addEventListener("keydown", (e) => {
        if (e.key !== "Escape" || document.querySelector("dialog[open]")) return;
        if (document.body.classList.contains("side-shown")) { closeSide(); $("side-open").focus(); }
        else chat.stop();
    });
    $("scroll").onscroll = () => {
        const s = $("scroll");
        chat.stick = s.scrollHeight - s.scrollTop - s.clientHeight < 60;
        $("down").hidden = chat.stick;
    };
    $("down").onclick = () => { chat.stick = true; chat.toEnd(); };
    $("thread").addEventListener("click", (e) => {
        const button = e.target.closest("button.copy");
        if (button) copyText(button.closest(".code").querySelector("code").textContent, button);
    });
    $("new").onclick = newConversation;
    $("export").onclick = exportAll;
    $("import").onclick = () => $("import-file").click();
    $("import-file").onchange = (e) => { if (e.target.files[0]) importFile(e.target.files[0]); e.target.value = ""; };
    $("side-open").onclick = openSide;
    $("side-close").onclick = () => { closeSide(); $("side-open").focus(); };
    $("shade").onclick = closeSide;
    $("tab-chat").onclick = () => showView("chat");
    $("tab-ops").onclick = () => showView("ops");
    window.addEventListener("hashchange", () => showView(location.hash === "#ops" ? "ops" : "chat"));
    window.addEventListener("resize", sideFocus);
    document.addEventListener("visibilitychange", () => {
        if (document.hidden) return;
        server.look();
        if (!$("ops").hidden) ops.look();
    });
    $("language").onclick = () => { settings.values.language = language === "en" ? "ko" : "en"; settings.save(); setLanguage(settings.values.language); };
    $("theme").onclick = () => { setTheme({ auto: "light", light: "dark", dark: "auto" }[settings.values.theme] || "auto"); settings.save(); };
    $("settings-open").onclick = () => openSettings();
    $("settings").onclose = () => {
        const c = chat.conversation;
        if (c.messages.length) store.put(c);
        server.models = [];
        server.look();
    };
    $("settings").onclick = (e) => { if (e.target === $("settings")) $("settings").close(); };
    $("rename-cancel").onclick = () => $("rename").close();
    $("s-system").oninput = () => { chat.conversation.system = $("s-system").value; };
    $("s-key").oninput = () => { settings.values.key = $("s-key").value.trim(); settings.save(); };
    $("s-key-keep").onchange = () => { settings.values.keepKey = $("s-key-keep").checked; settings.save(); };
    $("s-model").onchange = () => { settings.values.model = server.model = $("s-model").value; settings.save(); server.set(server.state); welcome(); };
    $("s-reset").onclick = () => { settings.values.sampling = {}; settings.save(); samplingFields(); };
}

async function start() {
    settings.load();
    wire();
    setLanguage(settings.values.language || (navigator.language.toLowerCase().startsWith("ko") ? "ko" : "en"));
    sideFocus();
    await store.open();
    chat.show(store.all()[0] || store.fresh());
    listConversations();
    showView(location.hash === "#ops" ? "ops" : "chat");
    if (!store.lasting) notice(t("errStore"));
    server.look();
    if (matchMedia("(min-width: 800px)").matches) $("input").focus();
    document.documentElement.dataset.started = "true";
}
start();
