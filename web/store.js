"use strict";
/* What the browser keeps: conversations in IndexedDB (large answers do not fit elsewhere), settings in localStorage.
 *
 * A conversation: {id, title, created, updated, system, messages: [{role, text, reasoning?, stats?, end?}]};
 * end: "stop", "length", "stopped" or "error". Without a working database all is kept in memory
 * and store.lasting is false. */
const EXPORT_FORMAT = "naru-conversations", EXPORT_VERSION = 1, IMPORT_BYTES_MAX = 256 << 20;

const store = {
    lasting: false,
    conversations: new Map(),
    db: null,

    async open() {
        try {
            this.db = await new Promise((resolve, reject) => {
                const request = indexedDB.open("naru", 1);
                request.onupgradeneeded = () => request.result.createObjectStore("conversations", { keyPath: "id" });
                request.onsuccess = () => resolve(request.result);
                request.onerror = () => reject(request.error);
                request.onblocked = () => reject(new Error("blocked"));
            });
            const all = await this.run("readonly", (s) => s.getAll());
            for (const c of all) this.conversations.set(c.id, c);
            this.lasting = true;
        } catch { this.db = null; }
    },

    run(mode, action) {
        return new Promise((resolve, reject) => {
            const transaction = this.db.transaction("conversations", mode);
            const request = action(transaction.objectStore("conversations"));
            transaction.oncomplete = () => resolve(request.result);
            transaction.onabort = transaction.onerror = () => reject(transaction.error);
        });
    },

    /* Newest first. */
    all() { return [...this.conversations.values()].sort((a, b) => b.updated - a.updated); },

    async put(c) {
        this.conversations.set(c.id, c);
        if (this.db) await this.run("readwrite", (s) => s.put(structuredClone(c))).catch(() => { this.lasting = false; });
    },

    async remove(id) {
        this.conversations.delete(id);
        if (this.db) await this.run("readwrite", (s) => s.delete(id)).catch(() => { this.lasting = false; });
    },

    fresh() {
        const now = Date.now();
        return { id: crypto.randomUUID ? crypto.randomUUID() : `${now}-${Math.random().toString(36).slice(2)}`,
                 title: "", created: now, updated: now, system: "", messages: [] };
    },

    exported() {
        return JSON.stringify({ format: EXPORT_FORMAT, version: EXPORT_VERSION, exported: new Date().toISOString(),
                                conversations: this.all() }, null, 1);
    },

    /* Takes over the conversations of an export; throws an Error that says what is wrong with the text, and then
     * nothing was changed. One that is here already (same id) gets a new id, so nothing is overwritten. */
    async take(text) {
        const data = JSON.parse(text);
        if (data?.format !== EXPORT_FORMAT) throw new Error("format");
        if (data.version !== EXPORT_VERSION) throw new Error(`version ${data.version}`);
        if (!Array.isArray(data.conversations)) throw new Error("conversations");
        const clean = data.conversations.map(checked);
        for (const c of clean) {
            if (this.conversations.has(c.id)) c.id = this.fresh().id;
            await this.put(c);
        }
        return clean.length;
    },
};

/* Only what a conversation may hold, of the right type. */
function checked(c, i) {
    const text = (v) => (typeof v === "string" ? v : "");
    const number = (v, or) => (Number.isFinite(v) ? v : or);
    if (!Array.isArray(c?.messages)) throw new Error(`conversations[${i}].messages`);
    const messages = c.messages.map((m, k) => {
        if (!["user", "assistant"].includes(m?.role)) throw new Error(`conversations[${i}].messages[${k}].role`);
        if (typeof m.text !== "string") throw new Error(`conversations[${i}].messages[${k}].text`);
        const out = { role: m.role, text: m.text };
        if (text(m.reasoning)) out.reasoning = m.reasoning;
        if (["stop", "length", "stopped", "error"].includes(m.end)) out.end = m.end;
        if (m.stats && typeof m.stats === "object")
            out.stats = Object.fromEntries(["prompt", "cached", "completion", "ttft", "decode"].map((k2) => [k2, number(m.stats[k2], 0)]));
        return out;
    });
    return { id: text(c.id) || store.fresh().id, title: text(c.title).slice(0, 200), created: number(c.created, Date.now()),
             updated: number(c.updated, Date.now()), system: text(c.system), messages };
}

const settings = {
    values: { language: null, theme: "auto", sampling: {}, key: "" },
    load() {
        try {
            Object.assign(this.values, JSON.parse(localStorage.getItem("naru") || "{}"));
        } catch { /* nothing kept, or not ours */ }
        this.values.key = this.values.key || "";
        if (!this.values.sampling || typeof this.values.sampling !== "object") this.values.sampling = {};
    },
    /* The key is kept only where the user said so. */
    save() {
        const { keepKey, key, ...rest } = this.values;
        try {
            localStorage.setItem("naru", JSON.stringify(keepKey ? { ...rest, keepKey, key } : rest));
        } catch { /* private mode */ }
    },
};
