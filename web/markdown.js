"use strict";
/* Markdown to DOM nodes, while it arrives.
 *
 * Idea: text comes in pieces. Whole blocks (paragraph, heading, list item, table row, line of code) are
 * made into nodes once and never touched again; only the last, open block is made anew when more text
 * comes. So a long answer costs the same a piece at its end as at its beginning.
 *
 *     "...# Head\n\nSome *te"  ->  [h1] closed   [p: Some *te] open, replaced by the next piece
 *
 * Safety: nodes are made with createElement and textContent only. HTML in the text stays text, links lead to
 * http, https and mailto only, pictures become links: nothing is loaded.
 * Limits: a block of more than OPEN_MAX characters is closed where it stands; quotes and emphasis
 * nest DEPTH_MAX deep. */
const OPEN_MAX = 8192, DEPTH_MAX = 8, CHUNK_BLOCKS = 48;

function el(tag, props, ...children) {
    const node = document.createElement(tag);
    for (const [k, v] of Object.entries(props || {})) {
        if (v === undefined || v === null || v === false) continue;
        if (k in node && k !== "role" && !k.startsWith("aria")) node[k] = v;
        else node.setAttribute(k, v === true ? "" : v);
    }
    node.append(...children);
    return node;
}

/* --- inline ------------------------------------------------------------------------------------- */

function safeUrl(text) {
    try {
        const url = new URL(text);
        return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
    } catch { return null; }
}

function link(url, children) {
    return el("a", { href: url, target: "_blank", rel: "noopener noreferrer nofollow" }, ...children);
}

/* "[label](target)" at `at`, nested brackets counted: {label, target, end} or null. */
function readLink(s, at) {
    let depth = 0, i = at;
    for (; i < s.length; i++) {
        if (s[i] === "\\") i++;
        else if (s[i] === "[") depth++;
        else if (s[i] === "]" && --depth === 0) break;
    }
    if (s[i] !== "]" || s[i + 1] !== "(") return null;
    const end = s.indexOf(")", i + 2);
    if (end < 0) return null;
    const target = s.slice(i + 2, end).trim().split(/\s+/)[0].replace(/^<|>$/g, "");
    return { label: s.slice(at + 1, i), target, end: end + 1 };
}

/* Where a mark opened at `at` closes: the next place where it stands behind a letter; -1: nowhere. `none`
 * remembers marks that close nowhere, so that many of them do not cost a search each. */
function findClose(s, mark, at, none) {
    if (none.has(mark)) return -1;
    let i = at;
    while ((i = s.indexOf(mark, i)) >= 0) {
        const single = mark.length > 1 || (s[i - 1] !== mark && s[i + 1] !== mark);
        const wordEnd = mark[0] !== "_" || !/[\p{L}\p{N}]/u.test(s[i + mark.length] || "");
        if (i > at && !/\s/.test(s[i - 1]) && single && wordEnd) return i;
        i += mark.length;
    }
    none.add(mark);
    return -1;
}

const MARKS = [["**", "strong"], ["__", "strong"], ["~~", "del"], ["*", "em"], ["_", "em"]];
const SPECIAL = /[\\`*_~[!<\n]|https?:\/\//g;

function inline(parent, s, depth = 0) {
    const none = new Set();
    let plain = "", i = 0;
    const flush = () => { if (plain) parent.append(plain); plain = ""; };
    while (i < s.length) {
        SPECIAL.lastIndex = i;
        const found = SPECIAL.exec(s);
        const at = found ? found.index : s.length;
        plain += s.slice(i, at);
        i = at;
        if (!found) break;
        const step = inlineAt(parent, s, i, depth, none, flush);
        if (step > i) { i = step; continue; }
        plain += s[i++];
    }
    flush();
}

/* One construct at i: appends it and returns where it ends, or i if there is none. */
function inlineAt(parent, s, i, depth, none, flush) {
    const c = s[i];
    if (c === "\\" && /[\\`*_{}[\]()#+\-.!~|<>]/.test(s[i + 1] || "")) {
        flush();
        parent.append(s[i + 1]);
        return i + 2;
    }
    if (c === "\n") {
        flush();
        parent.append(el("br"));
        return i + 1;
    }
    if (c === "`") return codeAt(parent, s, i, none, flush);
    if (c === "h") return autolinkAt(parent, s, i, flush);
    if (c === "<") {
        const m = /^<((?:https?:\/\/|mailto:)[^\s<>]{1,2000})>/.exec(s.slice(i, i + 2020));
        const url = m && safeUrl(m[1]);
        if (!url) return i;
        flush();
        parent.append(link(url, [m[1]]));
        return i + m[0].length;
    }
    if (c === "[" || (c === "!" && s[i + 1] === "[")) return linkAt(parent, s, i, depth, none, flush);
    return markAt(parent, s, i, depth, none, flush);
}

function codeAt(parent, s, i, none, flush) {
    const ticks = /^`+/.exec(s.slice(i, i + 64))[0];
    if (none.has(ticks)) return i;
    let end = i + ticks.length;
    while ((end = s.indexOf(ticks, end)) >= 0 && s[end + ticks.length] === "`") {
        while (s[end] === "`") end++;
    }
    if (end < 0) {
        none.add(ticks);
        return i;
    }
    flush();
    const body = s.slice(i + ticks.length, end).replace(/\n/g, " ");
    parent.append(el("code", null, /^ .*\S.* $/.test(body) ? body.slice(1, -1) : body));
    return end + ticks.length;
}

function autolinkAt(parent, s, i, flush) {
    let text = /^https?:\/\/[^\s<>"'`]*/.exec(s.slice(i, i + 2000))[0].replace(/[.,;:!?*_~]+$/, "");
    while (text.endsWith(")") && text.split("(").length < text.split(")").length) text = text.slice(0, -1);
    const url = text.length > 8 && safeUrl(text);
    if (!url) return i;
    flush();
    parent.append(link(url, [text]));
    return i + text.length;
}

function linkAt(parent, s, i, depth, none, flush) {
    if (depth >= DEPTH_MAX || none.has("[")) return i;
    const image = s[i] === "!";
    const found = readLink(s, image ? i + 1 : i);
    if (!found) {
        none.misses = (none.misses || 0) + 1;
        if (none.misses > 32 || s.indexOf("](", i) < 0) none.add("[");
        return i;
    }
    const url = safeUrl(found.target), span = document.createDocumentFragment();
    if (image) span.append("▣ ");
    inline(span, found.label, depth + 1);
    flush();
    parent.append(url ? link(url, [span]) : span);
    return found.end;
}

function markAt(parent, s, i, depth, none, flush) {
    if (depth >= DEPTH_MAX) return i;
    for (const [mark, tag] of MARKS) {
        if (!s.startsWith(mark, i) || /\s|^$/.test(s[i + mark.length] || "")) continue;
        if (mark[0] === "_" && /[\p{L}\p{N}]/u.test(s[i - 1] || "")) continue;
        const close = findClose(s, mark, i + mark.length, none);
        if (close < 0) continue;
        flush();
        const node = el(tag);
        inline(node, s.slice(i + mark.length, close), depth + 1);
        parent.append(node);
        return close + mark.length;
    }
    return i;
}

/* --- blocks ------------------------------------------------------------------------------------- */

const FENCE = /^( {0,3})(`{3,}|~{3,})\s*([^`]*)$/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])(?: +|$)(.*)$/;
const DELIMITER = /^ {0,3}\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const RULE = /^ {0,3}([-*_])(\s*\1){2,}\s*$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;

function cells(line) {
    const out = [];
    let cell = "";
    const s = line.trim().replace(/^\|/, "");
    for (let i = 0; i < s.length; i++) {
        if (s[i] === "\\" && s[i + 1] === "|") cell += s[++i];
        else if (s[i] === "|") { out.push(cell.trim()); cell = ""; }
        else cell += s[i];
    }
    if (cell.trim()) out.push(cell.trim());
    return out;
}

/* Renders into `root`; write(text) any number of times, then end(). */
class Markdown {
    constructor(root, depth = 0) {
        this.root = root;
        this.depth = depth;
        this.partial = "";      // of the last line
        this.block = null;      // open: {kind, text, ...}
        this.openNodes = [];    // what shows the open block
        this.chunk = null;      // holds some dozen closed blocks, so that layout skips those out of sight
        this.list = null;       // {node, ordered, indent} that further items may join
        this.table = null;      // tbody that further rows may join
    }

    write(text) {
        const lines = (this.partial + text.replace(/\r\n?/g, "\n")).split("\n");
        this.partial = lines.pop();
        this.dropOpen();
        for (const line of lines) this.line(line);
        this.showOpen();
    }

    end() {
        this.dropOpen();
        if (this.partial) this.line(this.partial);
        this.partial = "";
        this.close();
    }

    dropOpen() {
        for (const node of this.openNodes) node.remove();
        this.openNodes = [];
    }

    /* The open block and the line that is not complete yet, for now. */
    showOpen() {
        if (this.block?.kind === "code") {
            if (this.partial.length > OPEN_MAX) {
                this.codeText(this.partial);
                this.partial = "";
            }
            this.block.tail.data = FENCE.test(this.partial) ? "" : this.partial;
            return;
        }
        while (this.partial.length + (this.block?.text.length || 0) > OPEN_MAX) {
            this.line(this.partial.slice(0, OPEN_MAX));
            this.partial = this.partial.slice(OPEN_MAX);
            this.close();
        }
        const text = this.block ? this.block.text + (this.block.text && this.partial ? "\n" : "") + this.partial : this.partial;
        if (!text.trim()) return;
        const box = el("div", { className: "open" });
        renderWhole(box, this.block?.kind === "item" ? this.block.mark + text.replace(/\n/g, "\n" + " ".repeat(this.block.mark.length)) : this.block?.kind === "quote" ? text.replace(/^/gm, "> ") : text, this.depth + 1);
        this.place(box);
        this.openNodes = [box];
    }

    place(node) {
        if (this.depth > 0) {
            this.root.append(node);
            return;
        }
        if (!this.chunk || this.chunk.childElementCount >= CHUNK_BLOCKS) {
            this.chunk = el("div", { className: "chunk" });
            this.root.append(this.chunk);
        }
        this.chunk.append(node);
    }

    closeGroups() {
        this.list = null;
        this.table = null;
    }

    line(line) {
        if (this.block?.kind === "code") return this.codeLine(line);
        if (this.block?.kind === "item" && line.trim() && this.itemGoesOn(line)) return;
        const b = this.block, fence = FENCE.exec(line);
        if (fence) return this.openCode(fence);
        if (!line.trim()) {
            if (b?.kind === "item") { b.blank = true; b.text += "\n"; return; }
            return this.close();
        }
        if (this.depth < DEPTH_MAX && this.itemBegins(line)) return;
        if (this.tableLine(line)) return;
        const heading = HEADING.exec(line);
        if (heading) {
            this.close();
            this.closeGroups();
            const node = el("h" + Math.min(6, heading[1].length + 2));
            inline(node, heading[2]);
            return this.place(node);
        }
        if (RULE.test(line)) {
            this.close();
            this.closeGroups();
            return this.place(el("hr"));
        }
        const quote = /^ {0,3}> ?(.*)$/.exec(line);
        const kind = quote && this.depth < DEPTH_MAX ? "quote" : "paragraph";
        if (b && b.kind !== kind && !(b.kind === "quote" && kind === "paragraph")) this.close();
        this.add(kind, quote && kind === "quote" ? quote[1] : line);
    }

    add(kind, text) {
        this.block ??= { kind, text: null };
        this.block.text = this.block.text === null ? text : this.block.text + "\n" + text;
        if (this.block.text.length > OPEN_MAX) this.close();
    }

    close() {
        const b = this.block;
        this.block = null;
        if (!b) return;
        if (b.kind === "code") return this.closeCode(b);
        if (b.kind === "item") return this.closeItem(b);
        this.closeGroups();
        if (b.kind === "quote") {
            const node = el("blockquote");
            renderWhole(node, b.text, this.depth + 1);
            return this.place(node);
        }
        const node = el("p");
        inline(node, b.text.trim());
        this.place(node);
    }

    /* --- code: its lines are appended, so that a long block costs no more than a short one --- */
    openCode(fence) {
        this.close();
        this.closeGroups();
        const body = document.createTextNode(""), tail = document.createTextNode("");
        const code = el("code", null, body, tail), name = fence[3].trim().split(/\s+/)[0].slice(0, 40);
        const copy = el("button", { className: "copy link", type: "button", "data-t": "copyCode" }, t("copyCode"));
        const node = el("div", { className: "code" },
            el("div", { className: "code-head" }, el("span", null, name), copy), el("pre", { tabIndex: 0 }, code));
        this.block = { kind: "code", text: "", fence: fence[2], indent: fence[1].length, body, tail, rows: 0, code };
        this.place(node);
    }

    codeLine(line) {
        const b = this.block, end = /^ {0,3}(`{3,}|~{3,})\s*$/.exec(line);
        if (end && end[1][0] === b.fence[0] && end[1].length >= b.fence.length) return this.close();
        if (++b.rows % 200 === 0) {      // text nodes of bounded length
            b.body = document.createTextNode("");
            b.code.insertBefore(b.body, b.tail);
        }
        this.codeText((b.indent ? line.replace(new RegExp(`^ {0,${b.indent}}`), "") : line) + "\n");
    }

    codeText(text) { this.block.body.appendData(text); }

    closeCode(b) { b.tail.data = ""; }

    /* --- lists: an item is a block; it joins the list before it --- */
    itemGoesOn(line) {
        const b = this.block, m = RULE.test(line) ? null : ITEM.exec(line);
        const indent = line.length - line.trimStart().length;
        const lazy = !b.blank && !m && !HEADING.test(line) && !FENCE.test(line);
        if (indent < b.inner && !lazy) {
            this.close();
            return false;
        }
        b.text += (b.text ? "\n" : "") + line.slice(Math.min(indent, b.inner));
        if (b.text.length > OPEN_MAX) this.close();
        return true;
    }

    itemBegins(line) {
        const m = RULE.test(line) ? null : ITEM.exec(line), b = this.block;
        if (!m) return false;
        const ordered = /\d/.test(m[2]);
        if (b?.kind === "paragraph" && (ordered ? parseInt(m[2], 10) !== 1 : !m[3])) return false;
        this.close();
        this.block = { kind: "item", text: m[3], ordered, blank: false, number: parseInt(m[2], 10),
                       mark: m[2] + " ", inner: m[1].length + m[2].length + 1 };
        return true;
    }

    closeItem(b) {
        const joins = this.list && this.list.ordered === b.ordered && this.list.node.childElementCount < CHUNK_BLOCKS;
        if (!joins) {
            const node = el(b.ordered ? "ol" : "ul");
            if (b.ordered && b.number !== 1) node.start = b.number;
            this.closeGroups();
            this.list = { node, ordered: b.ordered };
            this.place(node);
        }
        const li = el("li"), text = b.text.trim(), task = /^\[([ xX])\]\s+/.exec(text);
        if (task) li.append(el("span", { className: "task", role: "img", "aria-label": task[1] === " " ? "☐" : "☑" }, task[1] === " " ? "☐ " : "☑ "));
        renderWhole(li, task ? text.slice(task[0].length) : text, this.depth + 1);
        if (!text.includes("\n\n")) for (const p of li.querySelectorAll(":scope > p")) p.replaceWith(...p.childNodes);
        this.list.node.append(li);
    }

    /* --- tables: a header and a line of dashes begin one; a row is a block --- */
    tableLine(line) {
        const b = this.block;
        if (this.table && !b) {
            if (line.includes("|")) {
                this.row(line);
                return true;
            }
            this.table = null;
        }
        if (b?.kind !== "paragraph" || b.text.includes("\n") || !b.text.includes("|") || !DELIMITER.test(line)) return false;
        const heads = cells(b.text), marks = cells(line);
        if (heads.length !== marks.length) return false;
        this.block = null;
        this.closeGroups();
        const aligns = marks.map((m) => (/^:-*:$/.test(m) ? "center" : m.endsWith(":") ? "right" : ""));
        const tr = el("tr"), tbody = el("tbody");
        heads.forEach((h, i) => {
            const th = el("th", { scope: "col", className: aligns[i] });
            inline(th, h);
            tr.append(th);
        });
        const node = el("div", { className: "table", tabIndex: 0 }, el("table", null, el("thead", null, tr), tbody));
        this.place(node);
        this.table = { tbody, aligns };
        return true;
    }

    row(line) {
        const tr = el("tr"), values = cells(line);
        this.table.aligns.forEach((align, i) => {
            const td = el("td", { className: align });
            inline(td, values[i] || "");
            tr.append(td);
        });
        this.table.tbody.append(tr);
    }
}

function renderWhole(root, text, depth) {
    const md = new Markdown(root, depth);
    for (const line of text.split("\n")) md.line(line);
    md.close();
}
