"use strict";
/* The operations view: GET /stats once a second while it is looked at. Shows what the server says, nothing else:
 * parts whose facts it does not send are not there. */
const ops = {
    timer: 0, last: null, rates: [], built: false,

    show(on) {
        clearTimeout(this.timer);
        this.timer = 0;
        if (!on) return;
        if (!this.built) this.build();
        this.look();
    },

    async look() {
        clearTimeout(this.timer);
        try {
            const s = await getJson("/stats");
            if (!$("ops").hidden) this.draw(s);
        } catch (e) {
            this.problem(e.kind === "key" ? "opsLocked" : e.kind === "offline" ? "opsOffline" : "errServer", e.message);
        }
        if (!$("ops").hidden && !document.hidden) this.timer = setTimeout(() => this.look(), 1000);
    },

    problem(key, message) {
        this.box.problem.hidden = false;
        this.box.problem.textContent = t(key, { message });
        $("ops").classList.add("stale");
    },

    build() {
        this.built = true;
        const box = this.box = {};
        const card = (name, title, lead, ...more) => {
            box[name] = el("div", { className: "card-body" });
            return el("section", { className: `card ${name}`, "aria-labelledby": `ops-${name}` },
                el("h2", { id: `ops-${name}`, "data-t": title }, t(title)), lead ? el("p", { className: "fine", "data-t": lead }, t(lead)) : "", box[name], ...more);
        };
        box.problem = el("p", { className: "problem", role: "alert", hidden: true });
        box.tiles = el("dl", { className: "tiles" });
        box.tenantsCard = card("tenants", "tenantsTitle");
        box.tenantsCard.hidden = true;
        $("ops").replaceChildren(
            el("div", { className: "ops-head" }, el("h1", { "data-t": "opsTitle" }, t("opsTitle")), el("p", { "data-t": "opsLead" }, t("opsLead")), box.problem),
            box.tiles,
            el("div", { className: "cards" },
                el("div", { className: "col" }, card("steps", "stepTitle", "stepLead"), card("work", "workTitle")),
                el("div", { className: "col" }, card("kv", "kvTitle"), card("latency", "latTitle", "latLead")),
                card("decisions", "decTitle"), box.tenantsCard));
        box.tiles.append(el("p", { className: "fine" }, t("loading")));
    },

    draw(s) {
        const box = this.box;
        box.problem.hidden = true;
        $("ops").classList.remove("stale");
        this.tiles(s);
        this.steps(s);
        this.kv(s);
        this.work(s);
        this.latency(s);
        this.decisions(s);
        if (Array.isArray(s.tenants)) this.tenants(s);
        this.last = s;
    },

    /* Tokens a second over the last five looks. */
    speed(s) {
        const now = { at: s.uptime_s, done: s.tokens.completion + s.steps.prefill_rows, busy: s.steps.busy_s };
        if (this.rates.length && now.at < this.rates.at(-1).at) this.rates = [];   // the server began anew
        this.rates.push(now);
        if (this.rates.length > 6) this.rates.shift();
        const from = this.rates[0], time = now.at - from.at;
        return time > 0 ? { tokens: (now.done - from.done) / time, load: Math.min(1, (now.busy - from.busy) / time) } : { tokens: 0, load: 0 };
    },

    tiles(s) {
        const now = this.speed(s), hit = s.tokens.prompt ? s.tokens.cached / s.tokens.prompt : 0;
        const tile = (key, value, under) => el("div", { className: "tile" }, el("dt", null, t(key)), el("dd", null, value, el("small", null, under)));
        this.box.tiles.replaceChildren(
            tile("running", count(s.requests.running), t("ofMax", { n: count(s.requests.running_max) })),
            tile("waiting", count(s.requests.waiting), s.draining ? t("draining") : " "),
            tile("tokensPerS", rate(now.tokens), t("now")),
            tile("load", `${Math.round(100 * now.load)} %`, t("loadHint")),
            tile("hitRate", `${Math.round(100 * hit)} %`, t("sinceStart")),
            tile("uptime", seconds(s.uptime_s), t("connectionsN", { n: count(s.connections) })));
    },

    steps(s) {
        const rows = s.steps.last;
        if (!rows.length) return this.box.steps.replaceChildren(el("p", { className: "none" }, t("stepNone")));
        const times = rows.map((r) => r[1]).sort((a, b) => a - b), mid = times[times.length >> 1], top = times.at(-1);
        const words = t("stepTable", { n: rows.length, max: seconds(top), mid: seconds(mid) });
        const key = (name) => el("span", { className: `key ${name}` }, t(name));
        const key2 = rows.some((r) => r.length > 5 && r[5] > 0) ? [key("predicted")] : [];
        this.box.steps.replaceChildren(chart(rows, Math.min(top, 1.2 * times[Math.floor(0.96 * (times.length - 1))]), words),
            el("p", { className: "legend" }, key("prefill"), key("decode"), ...key2, el("span", { className: "right" }, t("stepNow", { x: seconds(rows.at(-1)[1]), y: seconds(mid) }))));
    },

    kv(s) {
        const parts = [];
        for (const tier of s.kv.tiers) {
            const name = TEXTS.en[`tier_${tier.tier}`] ? t(`tier_${tier.tier}`) : tier.tier;
            const store = tier.bytes_max > 0;          // a tier that only keeps: its measure is bytes
            const free = Math.max(0, tier.blocks - tier.used - tier.cached), all = store ? tier.bytes_max : Math.max(1, tier.blocks);
            const words = store ? t("storeLine", { n: count(tier.blocks), bytes: bytes(tier.bytes), max: bytes(tier.bytes_max), state: tier.state || "" }) : t("kvLine", { used: count(tier.used), cached: count(tier.cached), free: count(free), all: count(tier.blocks), bytes: bytes(tier.bytes) });
            const bar = el("div", { className: "bar", role: "img", "aria-label": `${name}: ${words}` });
            for (const [part, n] of store ? [["cached", tier.bytes]] : [["used", tier.used], ["cached", tier.cached]]) {
                const span = el("span", { className: part });
                span.style.width = `${(100 * n) / all}%`;
                bar.append(span);
            }
            parts.push(el("div", { className: "tier" }, el("h3", null, name), bar, el("p", { className: "fine" }, words),
                el("p", { className: "fine" }, t("hitTokens", { n: count(tier.hit_tokens || 0) }))));
        }
        parts.push(el("p", { className: "legend" }, el("span", { className: "key used" }, t("used")), el("span", { className: "key cached" }, t("cachedBlocks")),
            el("span", { className: "right" }, s.kv.sharing ? t("evictions", { n: count(s.kv.evictions) }) : t("noSharing"))));
        this.box.kv.replaceChildren(...parts);
    },

    table(box, heads, rows, none) {
        if (!rows.length) return box.replaceChildren(el("p", { className: "none" }, none));
        box.replaceChildren(el("div", { className: "table", tabIndex: 0, role: "region", "aria-label": box.parentNode.querySelector("h2").textContent },
            el("table", null, el("thead", null, el("tr", null, ...heads.map((h) => el("th", { scope: "col" }, h)))),
                el("tbody", null, ...rows.map((cells) => el("tr", null, ...cells.map((c) => el("td", null, c))))))));
    },

    work(s) {
        const rows = s.at_work.slice(0, 12).map((r) => [`#${r.request}`, t(r.paused ? "paused" : `phase_${r.phase}`),
            r.phase === "decode" ? t("tokens", { n: count(r.generated) }) : `${count(r.prefilled)} / ${count(r.prompt)}`,
            t("cachedShort", { n: count(r.cached), m: count(r.prompt) }), count(r.blocks), seconds(r.age_s)]);
        this.table(this.box.work, [t("request"), t("phase"), t("progress"), t("cache"), t("blocks"), t("age")], rows, t("workNone"));
        const more = s.at_work_total - rows.length;
        if (more > 0 && rows.length) this.box.work.append(el("p", { className: "fine" }, t("moreRows", { n: count(more) })));
    },

    latency(s) {
        const rows = ["ttft", "itl", "e2e", "queue", "step"].filter((k) => s.latency[k]).map((k) => {
            const v = s.latency[k];
            return [t(`lat_${k}`), ...[v.p50_s, v.p95_s, v.p99_s].map((x) => (v.n ? seconds(x) : "–"))];
        });
        this.table(this.box.latency, [t("measure"), t("median"), t("p95"), t("p99")], rows, "");
    },

    decisions(s) {
        const rows = s.decisions.slice(0, 20).map((d) => {
            const known = TEXTS.en[`r_${d.kind}`];
            const why = known ? t(`r_${d.kind}`, { prompt: count(d.prompt), cached: count(d.cached), waited: seconds(d.waited_s) }) : d.reason;
            return [t("ago", { x: seconds(d.ago_s) }), d.request ? `#${d.request}` : "–", TEXTS.en[`d_${d.kind}`] ? t(`d_${d.kind}`) : d.kind, why];
        });
        this.table(this.box.decisions, [t("when"), t("request"), t("decision"), t("reason")], rows, t("decNone"));
    },

    /* One row a tenant, one column a number the server sends for it. */
    tenants(s) {
        this.box.tenantsCard.hidden = s.tenants.length === 0;
        if (!s.tenants.length) return;
        const names = Object.keys(s.tenants[0]).filter((k) => typeof s.tenants[0][k] === "number");
        this.table(this.box.tenants, [t("tenant"), ...names.map((n) => n.replace(/_/g, " "))],
            s.tenants.map((x) => [String(x.tenant ?? x.name ?? x.id ?? "–"), ...names.map((n) => count(x[n]))]), "");
    },
};

/* Bars of the last steps: height the time (`top` seconds and more fill it), colour what most of its rows were. A sixth number of a row, if there
 * is one, is the predicted time: a line across the bar. */
function chart(rows, top, words) {
    const NS = "http://www.w3.org/2000/svg", W = 640, H = 140, n = 128, w = W / n;
    const make = (tag, attributes) => {
        const node = document.createElementNS(NS, tag);
        for (const [k, v] of Object.entries(attributes)) node.setAttribute(k, v);
        return node;
    };
    const svg = make("svg", { viewBox: `0 0 ${W} ${H}`, class: "chart", role: "img", "aria-label": words, preserveAspectRatio: "none" });
    for (const y of [0.25, 0.5, 0.75]) svg.append(make("line", { x1: 0, x2: W, y1: H * y, y2: H * y, class: "grid-line" }));
    rows.forEach((row, i) => {
        const x = W - (rows.length - i) * w, h = Math.min(H, Math.max(2, (H - 6) * row[1] / top));
        svg.append(make("rect", { x: x + w * 0.12, y: H - h, width: w * 0.76, height: h, class: row[2] > row[3] ? "prefill" : "decode" }));
        if (row.length > 5 && row[5] > 0) {
            const y = H - Math.min(H, (H - 6) * row[5] / top);
            svg.append(make("line", { x1: x, x2: x + w, y1: y, y2: y, class: "predicted" }));
        }
    });
    return svg;
}
