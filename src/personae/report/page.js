// Order, filters, pages. Blocks of 24 pictures stay text until one of their pictures is shown.

(() => {
  const root = document.documentElement;
  const $ = (id) => document.getElementById(id);
  const errors = [];
  window.addEventListener("error", (event) => { errors.push(event.message); root.dataset.errors = errors.length; });
  root.dataset.errors = 0;

  const scenes = JSON.parse($("scenes").textContent);
  const index = JSON.parse($("index").textContent);
  const total = index.scene.length;
  const BITS = { absent: 1, duplicated: 2, stranger: 4, unmeasured: 8 };
  const state = { page: 0, sort: -1, of: "value", way: "worst", find: "", filters: new Set() };
  let shown = [];

  const parsed = new Map();
  function block(number) {
    if (parsed.has(number)) return parsed.get(number);
    const node = $(`block-${number}`);
    // The file may still be arriving behind the script: then the page is drawn again at its end.
    if (!node || (document.readyState === "loading" && !node.nextSibling)) return null;
    const content = JSON.parse(node.textContent);
    parsed.set(number, content);
    if (parsed.size > 60) parsed.delete(parsed.keys().next().value);
    return content;
  }

  function thumbnail(place) {
    const home = block(index.home[place]);
    return (home && home.refs[place]) || { data: null, why: "loading" };
  }

  const haystacks = scenes.map((scene) =>
    [scene.id, scene.prompt, ...scene.subjects.flatMap((subject) => [subject.id, subject.noun])].join("\n").toLowerCase());

  function keeps(rank, words) {
    for (const name of state.filters) {
      if (name === "changed" ? index.twinFlags[rank] < 0 || index.twinFlags[rank] === index.flags[rank] : !(index.flags[rank] & BITS[name])) return false;
    }
    return words.every((word) => haystacks[index.scene[rank]].includes(word));
  }

  function heights() {
    if (state.sort < 0 && state.of === "value") return null;
    const column = state.sort < 0 ? index.main || 0 : state.sort;
    const ours = index.columns[column];
    const sign = index.higher[column] ? 1 : -1;
    if (state.of === "value") return ours.map((value) => (value === null ? null : sign * value));
    const theirs = index.twin[column];
    return ours.map((value, rank) => (value === null || theirs[rank] === null ? null : sign * (value - theirs[rank])));
  }

  function select() {
    const words = state.find.toLowerCase().split(/\s+/).filter(Boolean);
    const ranks = [];
    for (let rank = 0; rank < total; rank += 1) if (keeps(rank, words)) ranks.push(rank);
    const height = heights();
    const turn = state.way === "worst" ? 1 : -1;
    if (height === null) { if (turn < 0) ranks.reverse(); } else {
      // What was not measured has no place in an order, so it comes last either way.
      ranks.sort((a, b) => (height[a] === null) - (height[b] === null) || turn * (height[a] - height[b]) || a - b);
    }
    shown = ranks;
    state.page = Math.min(state.page, Math.max(0, Math.ceil(shown.length / index.page) - 1));
  }

  function draw() {
    const first = state.page * index.page;
    const ranks = shown.slice(first, first + index.page);
    const cards = document.createDocumentFragment();
    let complete = true;
    for (const rank of ranks) {
      const home = block(Math.floor(rank / index.page));
      if (!home) { complete = false; continue; }
      cards.append(cardOf(home.entries[rank % index.page], scenes[index.scene[rank]], index, rank, thumbnail));
    }
    if (!ranks.length) cards.append(Object.assign(document.createElement("p"), { className: "quiet none", textContent: "No picture fits. Show all takes every filter away." }));
    $("gallery").replaceChildren(cards);
    for (const place of ["top", "bottom"]) drawPager($(`pager-${place}`), place === "top");
    if (!complete) document.addEventListener("DOMContentLoaded", draw, { once: true });
    root.dataset.pictures = $("gallery").querySelectorAll("article").length;
    root.dataset.shown = shown.length;
    if (!root.dataset.firstMs) root.dataset.firstMs = performance.now().toFixed(0);
  }

  function drawPager(holder, live) {
    const pages = Math.max(1, Math.ceil(shown.length / index.page));
    const first = state.page * index.page;
    const count = (value) => value.toLocaleString("en");
    const range = shown.length ? `${count(first + 1)} to ${count(Math.min(first + index.page, shown.length))} of ${count(shown.length)}` : "none";
    const less = shown.length < total ? ` (${count(total)} in all)` : "";
    const words = el("p", live ? { role: "status" } : {}, range + less);
    const turn = (name, page, off) => el("button", { type: "button", class: "plain", disabled: off, onclick: () => go(page) }, name);
    const entry = el("input", { type: "number", min: 1, max: pages, value: state.page + 1, "aria-label": "page", onchange: (event) => go(Number(event.target.value) - 1) });
    const [start, end] = [state.page === 0, state.page === pages - 1];
    const nav = el("nav", { "aria-label": live ? "pages" : "pages, below" }, turn("First", 0, start), turn("Previous", state.page - 1, start),
      el("label", {}, "page ", entry, ` of ${count(pages)}`), turn("Next", state.page + 1, end), turn("Last", pages - 1, end));
    holder.replaceChildren(words, ...(pages > 1 ? [nav] : []));
  }

  function go(page) {
    const pages = Math.ceil(shown.length / index.page);
    state.page = Math.min(Math.max(0, Number.isFinite(page) ? page : 0), Math.max(0, pages - 1));
    draw();
    remember();
    $("pictures").focus({ preventScroll: true });
    $("pager-top").scrollIntoView();
  }

  function refresh() {
    state.page = 0;
    select();
    draw();
    remember();
  }

  function show() {
    $("find").value = state.find;
    $("sort").value = state.sort;
    $("way").value = state.way;
    if ($("of")) $("of").value = state.of;
    for (const tile of document.querySelectorAll("[data-filter]")) tile.setAttribute("aria-pressed", state.filters.has(tile.dataset.filter));
  }

  function remember() {
    const kept = new URLSearchParams();
    if (state.page) kept.set("page", state.page + 1);
    if (state.sort >= 0) kept.set("sort", index.labels[state.sort]);
    if (state.of !== "value") kept.set("of", state.of);
    if (state.way !== "worst") kept.set("from", state.way);
    if (state.find) kept.set("find", state.find);
    if (state.filters.size) kept.set("only", [...state.filters].join("."));
    const text = kept.toString();
    if (text || location.hash.includes("=")) window.history.replaceState(null, "", `#${text}`);
  }

  function recall() {
    const kept = new URLSearchParams(location.hash.slice(1));
    state.sort = index.labels.indexOf(kept.get("sort"));
    state.of = kept.get("of") === "change" && index.twin ? "change" : "value";
    state.way = kept.get("from") === "best" ? "best" : "worst";
    state.find = kept.get("find") || "";
    const known = (name) => name in BITS || (name === "changed" && index.twin);
    state.filters = new Set((kept.get("only") || "").split(".").filter(known));
    select();
    const page = Number(kept.get("page") || 1) - 1;
    state.page = Math.min(Math.max(0, page || 0), Math.max(0, Math.ceil(shown.length / index.page) - 1));
  }

  function wire() {
    let waiting = 0;
    $("tools").addEventListener("submit", (event) => event.preventDefault());
    $("find").addEventListener("input", (event) => {
      clearTimeout(waiting);
      waiting = setTimeout(() => { state.find = event.target.value.trim(); refresh(); }, 120);
    });
    for (const [id, key] of [["sort", "sort"], ["way", "way"], ["of", "of"]]) {
      if ($(id)) $(id).addEventListener("change", (event) => { state[key] = key === "sort" ? Number(event.target.value) : event.target.value; refresh(); });
    }
    for (const tile of document.querySelectorAll("[data-filter]")) tile.addEventListener("click", () => {
      const name = tile.dataset.filter;
      if (!state.filters.delete(name)) state.filters.add(name);
      show();
      refresh();
    });
    $("clear").addEventListener("click", () => { Object.assign(state, { sort: -1, of: "value", way: "worst", find: "", filters: new Set() }); show(); refresh(); });
    document.addEventListener("keydown", turnByKey);
    window.addEventListener("hashchange", () => { if (location.hash.includes("=")) { recall(); show(); draw(); } });
  }

  function turnByKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, select, textarea, .scroll")) return;
    if (event.key === "ArrowRight") go(state.page + 1);
    else if (event.key === "ArrowLeft") go(state.page - 1);
    else if (event.key === "/") { event.preventDefault(); $("find").focus(); }
  }

  function theme() {
    const names = ["auto", "light", "dark"];
    const kept = () => { try { return localStorage.getItem("personae-theme") || "auto"; } catch { return "auto"; } };
    const keep = (name) => { try { localStorage.setItem("personae-theme", name); } catch { /* private window */ } };
    const wear = (name) => { if (name === "auto") delete root.dataset.theme; else root.dataset.theme = name; $("theme").textContent = `Theme: ${name}`; };
    let current = kept();
    wear(current);
    $("theme").hidden = false;
    $("theme").addEventListener("click", () => { current = names[(names.indexOf(current) + 1) % 3]; wear(current); keep(current); });
  }

  theme();
  // Small thumbnails (of a large run) are shown small rather than blurred.
  $("gallery").style.setProperty("--picture", `${Math.min(360, Math.max(240, 2 * index.side))}px`);
  $("tools").hidden = false;
  recall();
  show();
  wire();
  draw();
})();
