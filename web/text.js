"use strict";
/* Every word the page says, in each language. t(key, {name: value}) fills in {name}. */
const TEXTS = {
    en: {
        skip: "Skip to the message field", conversations: "Conversations", close: "Close", newChat: "New conversation",
        exportAll: "Export", importAll: "Import", keptHere: "Conversations stay in this browser.",
        openList: "Show conversations", views: "Views", chat: "Chat", ops: "Operations", settings: "Settings",
        messages: "Messages", toEnd: "Go to the end", message: "Message", hint: "Write a message", send: "Send", stop: "Stop",
        mayErr: "Answers can be wrong.", keys: "Enter sends, Shift+Enter breaks the line, Esc stops.",
        undo: "Undo", system: "System prompt of this conversation", systemHint: "How the model should behave; may stay empty",
        sampling: "Sampling", samplingHint: "An empty field leaves the choice to the server.", reset: "Reset sampling",
        model: "Model", key: "API key", keyHint: "only if the server asks for one", keyKeep: "Remember it in this browser",
        done: "Done", rename: "Rename", title: "Title", cancel: "Cancel", save: "Save",
        you: "You", assistant: "Naru", copy: "Copy", copied: "Copied", copyCode: "Copy", again: "Answer again", edit: "Edit",
        remove: "Delete", sendEdit: "Send", untitled: "New conversation", thinking: "Thinking", reading: "Reading the prompt",
        reasoning: "Reasoning", stopped: "Stopped", cut: "Length limit reached", goOn: "Continue",
        answering: "Naru is answering.", answered: "The answer is complete.",
        welcome: "What shall we talk about?", welcomeText: "{model} runs on this server. Nothing you write goes anywhere else.",
        welcomeWait: "Looking for the model …",
        idea1: "Tell me a story about a cat.", idea2: "Hello! What is your name?", idea3: "Tell me a story about a boat and a river.",
        idea4: "How are you today?",
        ready: "{model}", connecting: "connecting", draining: "shutting down", offline: "no connection", busy: "busy", locked: "key needed",
        light: "Light theme; switch to dark", dark: "Dark theme; switch to automatic", auto: "Theme of the system; switch to light",
        errOffline: "The server does not answer. Is it running?", errBusy: "The server is busy. Trying again in {s} s …",
        errBusyEnd: "The server is too busy at the moment.", errKey: "This server asks for an API key.", errKeyWrong: "The server did not accept the key.",
        errCut: "The answer broke off: the connection was lost.", errServer: "The server reports: {message}", retry: "Try again", enterKey: "Enter a key",
        errLong: "The conversation is longer than the model can read ({message}). Start a new one, or delete earlier messages.",
        errStore: "This browser does not keep data; the conversations are gone when the page is closed.",
        deleted: "Conversation deleted.", replaced: "The answer was replaced.", cutOff: "Later messages were removed.",
        imported: "{n} conversations imported.", importBad: "This file is not an export of this page: {why}", noConversations: "No conversations yet.",
        speed: "{x} tokens/s", ttft: "first token {x}", cached: "{n} of {m} prompt tokens from the cache", cachedShort: "{n}/{m} cached", tokens: "{n} tokens",
        temperature: "Temperature", top_p: "Top-p", top_k: "Top-k", min_p: "Min-p", max_tokens: "Longest answer", repetition_penalty: "Repetition penalty",
        seed: "Seed", stopText: "Stop text",
        opsTitle: "Operations", opsLead: "What the engine does at this moment; nothing here shows any prompt.",
        running: "Running", waiting: "Waiting", ofMax: "of {n}", tokensPerS: "Tokens/s", now: "last seconds", load: "Load", loadHint: "time inside steps",
        hitRate: "Cache hits", sinceStart: "since the start", uptime: "Up for", connectionsN: "{n} connections",
        stepTitle: "Last steps", stepLead: "Time of each step; the newest is on the right.", prefill: "prefill", decode: "decode", predicted: "predicted", stepNow: "last {x}, usually {y}",
        stepNone: "No step has run yet. Send a message to see the engine work.", stepTable: "{n} steps shown. Longest {max}, median {mid}.",
        kvTitle: "KV memory", cache: "Cache", tier_ram: "Memory", tier_ssd: "SSD", tier_peer: "Other machines", used: "in use", cachedBlocks: "kept for reuse", free: "free",
        kvLine: "{used} in use, {cached} kept for reuse, {free} free, of {all} ({bytes})", storeLine: "{n} blocks kept, {bytes} of {max} ({state})", hitTokens: "{n} prompt tokens found here", evictions: "{n} evictions",
        noSharing: "This model's state cannot be shared between requests.",
        latTitle: "Latency", lat_ttft: "First token", lat_itl: "Between tokens", lat_e2e: "Whole answer", lat_queue: "In the queue", lat_step: "One step",
        measure: "Measure", median: "Median", p95: "95 %", p99: "99 %", latLead: "Of the last 256 values each.",
        workTitle: "Requests at work", workNone: "Nothing to do. The engine sleeps.", request: "Request", phase: "Phase", progress: "Progress", age: "Age", blocks: "Blocks",
        phase_queued: "waiting", phase_prefill: "reading", phase_decode: "writing", phase_ended: "ended", paused: "paused", moreRows: "and {n} more",
        decTitle: "Recent decisions", decNone: "No decisions yet.", when: "When", decision: "Decision", reason: "Reason", ago: "{x} ago",
        d_admit: "admitted", d_preempt: "put back", d_pause: "paused", d_resume: "resumed", d_queue_timeout: "given up", d_stalled: "given up",
        d_refuse_full: "refused", d_refuse_long: "refused", d_refuse_closing: "refused",
        r_admit: "A place and the blocks of its prompt were free: {prompt} tokens, {cached} from the cache; waited {waited}.",
        r_preempt: "An older request needed a block and none was left.", r_pause: "Its reader is slow.", r_resume: "Its reader caught up.",
        r_queue_timeout: "It waited too long for a place ({waited}).", r_stalled: "Its reader took nothing for too long.",
        r_refuse_full: "The queue was full.", r_refuse_long: "The prompt of {prompt} tokens does not fit the context.", r_refuse_closing: "The server is shutting down.",
        tenantsTitle: "Tenants", tenant: "Tenant", opsLocked: "This view needs a key that may read metrics.", opsOffline: "The server does not answer; trying again every second.",
        loading: "Loading …", ms: "{x} ms", s: "{x} s", min: "{x} min", h: "{x} h", day: "{x} d", yes: "yes", optional: "server's choice",
    },
    ko: {
        skip: "메시지 입력란으로 건너뛰기", conversations: "대화 목록", close: "닫기", newChat: "새 대화",
        exportAll: "내보내기", importAll: "가져오기", keptHere: "대화는 이 브라우저에만 저장됩니다.",
        openList: "대화 목록 보기", views: "화면", chat: "대화", ops: "운영", settings: "설정",
        messages: "메시지", toEnd: "맨 아래로", message: "메시지", hint: "메시지를 입력하세요", send: "보내기", stop: "중지",
        mayErr: "답변이 틀릴 수 있습니다.", keys: "Enter로 보내고, Shift+Enter로 줄을 바꾸고, Esc로 멈춥니다.",
        undo: "되돌리기", system: "이 대화의 시스템 프롬프트", systemHint: "모델이 어떻게 답할지 적습니다. 비워 두어도 됩니다",
        sampling: "샘플링", samplingHint: "비워 두면 서버의 기본값을 씁니다.", reset: "샘플링 초기화",
        model: "모델", key: "API 키", keyHint: "서버가 요구할 때만", keyKeep: "이 브라우저에 저장",
        done: "완료", rename: "이름 바꾸기", title: "제목", cancel: "취소", save: "저장",
        you: "나", assistant: "나루", copy: "복사", copied: "복사됨", copyCode: "복사", again: "다시 답하기", edit: "고치기",
        remove: "삭제", sendEdit: "보내기", untitled: "새 대화", thinking: "생각하는 중", reading: "프롬프트를 읽는 중",
        reasoning: "추론 과정", stopped: "중지함", cut: "길이 한도에 도달함", goOn: "이어서 쓰기",
        answering: "나루가 답하고 있습니다.", answered: "답변이 끝났습니다.",
        welcome: "무엇을 이야기할까요?", welcomeText: "{model} 모델이 이 서버에서 돌아갑니다. 쓰신 글은 다른 곳으로 나가지 않습니다.",
        welcomeWait: "모델을 찾는 중 …",
        idea1: "Tell me a story about a cat.", idea2: "안녕하세요!", idea3: "Tell me a story about a boat and a river.",
        idea4: "오늘 기분이 어때?",
        ready: "{model}", connecting: "연결하는 중", draining: "종료하는 중", offline: "연결 없음", busy: "바쁨", locked: "키 필요",
        light: "밝은 테마, 어두운 테마로 바꾸기", dark: "어두운 테마, 자동으로 바꾸기", auto: "시스템 테마, 밝은 테마로 바꾸기",
        errOffline: "서버가 응답하지 않습니다. 실행 중인지 확인하세요.", errBusy: "서버가 바쁩니다. {s}초 뒤에 다시 시도합니다 …",
        errBusyEnd: "지금은 서버가 너무 바쁩니다.", errKey: "이 서버는 API 키를 요구합니다.", errKeyWrong: "서버가 키를 받아들이지 않았습니다.",
        errCut: "연결이 끊겨 답변이 중간에 멈췄습니다.", errServer: "서버 메시지: {message}", retry: "다시 시도", enterKey: "키 입력",
        errLong: "대화가 모델이 읽을 수 있는 길이를 넘었습니다 ({message}). 새 대화를 시작하거나 앞의 메시지를 지우세요.",
        errStore: "이 브라우저에는 데이터를 저장할 수 없습니다. 페이지를 닫으면 대화가 사라집니다.",
        deleted: "대화를 삭제했습니다.", replaced: "답변을 새로 썼습니다.", cutOff: "뒤의 메시지를 지웠습니다.",
        imported: "대화 {n}개를 가져왔습니다.", importBad: "이 페이지에서 내보낸 파일이 아닙니다: {why}", noConversations: "아직 대화가 없습니다.",
        speed: "초당 {x} 토큰", ttft: "첫 토큰 {x}", cached: "프롬프트 {m} 토큰 중 {n} 토큰을 캐시에서 읽음", cachedShort: "캐시 {n}/{m}", tokens: "{n} 토큰",
        temperature: "온도", top_p: "Top-p", top_k: "Top-k", min_p: "Min-p", max_tokens: "답변 최대 길이", repetition_penalty: "반복 벌점",
        seed: "시드", stopText: "정지 문구",
        opsTitle: "운영", opsLead: "엔진이 지금 하는 일입니다. 프롬프트 내용은 나타나지 않습니다.",
        running: "실행 중", waiting: "대기 중", ofMax: "최대 {n}", tokensPerS: "초당 토큰", now: "최근 몇 초", load: "부하", loadHint: "스텝 안의 시간",
        hitRate: "캐시 적중", sinceStart: "시작 이후", uptime: "가동 시간", connectionsN: "연결 {n}개",
        stepTitle: "최근 스텝", stepLead: "스텝마다 걸린 시간입니다. 오른쪽이 가장 최근입니다.", prefill: "프리필", decode: "디코드", predicted: "예측", stepNow: "마지막 {x}, 보통 {y}",
        stepNone: "아직 실행된 스텝이 없습니다. 메시지를 보내면 엔진이 움직입니다.", stepTable: "스텝 {n}개. 가장 긴 것 {max}, 중앙값 {mid}.",
        kvTitle: "KV 메모리", cache: "캐시", tier_ram: "메모리", tier_ssd: "SSD", tier_peer: "다른 장비", used: "사용 중", cachedBlocks: "재사용 대기", free: "비어 있음",
        kvLine: "전체 {all} ({bytes}) 중 사용 {used}, 재사용 대기 {cached}, 비어 있음 {free}", storeLine: "블록 {n}개 보관, {max} 중 {bytes} ({state})", hitTokens: "여기서 찾은 프롬프트 {n} 토큰", evictions: "축출 {n}회",
        noSharing: "이 모델의 상태는 요청끼리 나눌 수 없습니다.",
        latTitle: "지연 시간", lat_ttft: "첫 토큰", lat_itl: "토큰 사이", lat_e2e: "답변 전체", lat_queue: "대기열", lat_step: "스텝 하나",
        measure: "항목", median: "중앙값", p95: "95 %", p99: "99 %", latLead: "항목마다 최근 256개 값입니다.",
        workTitle: "처리 중인 요청", workNone: "할 일이 없습니다. 엔진이 쉬고 있습니다.", request: "요청", phase: "단계", progress: "진행", age: "경과", blocks: "블록",
        phase_queued: "대기", phase_prefill: "읽는 중", phase_decode: "쓰는 중", phase_ended: "끝남", paused: "일시 정지", moreRows: "외 {n}개",
        decTitle: "최근 결정", decNone: "아직 결정이 없습니다.", when: "언제", decision: "결정", reason: "이유", ago: "{x} 전",
        d_admit: "받아들임", d_preempt: "되돌림", d_pause: "일시 정지", d_resume: "재개", d_queue_timeout: "포기", d_stalled: "포기",
        d_refuse_full: "거절", d_refuse_long: "거절", d_refuse_closing: "거절",
        r_admit: "자리와 프롬프트 블록이 비어 있었습니다: {prompt} 토큰, 캐시에서 {cached}, 대기 {waited}.",
        r_preempt: "먼저 온 요청에 블록이 필요한데 남은 것이 없었습니다.", r_pause: "읽는 쪽이 느립니다.", r_resume: "읽는 쪽이 따라왔습니다.",
        r_queue_timeout: "자리를 너무 오래 기다렸습니다 ({waited}).", r_stalled: "읽는 쪽이 너무 오래 읽지 않았습니다.",
        r_refuse_full: "대기열이 가득 찼습니다.", r_refuse_long: "{prompt} 토큰 프롬프트가 컨텍스트에 들어가지 않습니다.", r_refuse_closing: "서버가 종료되고 있습니다.",
        tenantsTitle: "테넌트", tenant: "테넌트", opsLocked: "이 화면에는 지표를 읽을 수 있는 키가 필요합니다.", opsOffline: "서버가 응답하지 않습니다. 1초마다 다시 시도합니다.",
        loading: "불러오는 중 …", ms: "{x} ms", s: "{x}초", min: "{x}분", h: "{x}시간", day: "{x}일", yes: "예", optional: "서버 기본값",
    },
};

let language = "en";

function t(key, values) {
    const text = TEXTS[language][key] ?? TEXTS.en[key] ?? key;
    return values ? text.replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all) : text;
}

/* Words in the page: data-t the text, data-t-label the accessible name and tooltip, data-t-hint the placeholder. */
function translate(root = document) {
    for (const node of root.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t);
    for (const node of root.querySelectorAll("[data-t-label]")) {
        node.setAttribute("aria-label", t(node.dataset.tLabel));
        if (node.tagName === "BUTTON") node.title = t(node.dataset.tLabel);
    }
    for (const node of root.querySelectorAll("[data-t-hint]")) node.placeholder = t(node.dataset.tHint);
}

function seconds(s) {
    if (s < 0.9995) return t("ms", { x: s * 1000 >= 10 ? Math.round(s * 1000) : (s * 1000).toPrecision(2) });
    if (s < 90) return t("s", { x: s < 10 ? s.toFixed(1) : Math.round(s) });
    if (s < 5400) return t("min", { x: Math.round(s / 60) });
    if (s < 129600) return t("h", { x: Math.round(s / 3600) });
    return t("day", { x: Math.round(s / 86400) });
}

function bytes(n) {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let i = 0;
    while (n >= 1024 && i < units.length - 1) { n /= 1024; i++; }
    return `${n < 10 && i > 0 ? n.toFixed(1) : Math.round(n)} ${units[i]}`;
}

function count(n) { return n.toLocaleString(language); }
