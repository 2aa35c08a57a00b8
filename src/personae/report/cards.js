"use strict";
// Draws one picture's card. Text reaches the page by textContent alone, never as markup.

const SVG = "http://www.w3.org/2000/svg";
const DASH = "\u2013";

function el(tag, props, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "place") for (const [key, text] of Object.entries(value)) node.style.setProperty(key, text);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

const fixed = (value, digits = 3) => (value === null || value === undefined ? DASH : value.toFixed(digits));
const signed = (value) => (value === null ? DASH : (value < 0 ? "\u2212" : "+") + Math.abs(value).toFixed(3));

function colorClass(scene, subject) {
  const place = scene.subjects.findIndex((known) => known.id === subject);
  return `s${(place < 0 ? 0 : place) % 8}`;
}

// Who each box is: matched, a further copy, a stranger, or something else that was found.
function boxRoles(group) {
  return group.boxes.map((_, box) => {
    const row = group.match.indexOf(box);
    if (row >= 0) return { kind: "match", row, name: group.subjects[row] };
    if (group.duplicates.includes(box)) {
      const column = group.similarity.map((cells) => cells[box]);
      const nearest = column.indexOf(Math.max(...column));
      return { kind: "again", row: nearest, name: `${group.subjects[nearest]} again` };
    }
    if (group.strangers.includes(box)) return { kind: "stranger", row: -1, name: "stranger" };
    return { kind: "other", row: -1, name: "unmatched" };
  });
}

function roleClass(role, scene, group) {
  return role.row < 0 ? role.kind : `${role.kind} ${colorClass(scene, group.subjects[role.row])}`;
}

function boxesOf(side, scene) {
  const sized = side.groups.filter((group) => group.size);
  if (!sized.length) return [];
  const [width, height] = sized[0].size;
  const overlay = document.createElementNS(SVG, "svg");
  overlay.setAttribute("viewBox", `0 0 ${width} ${height}`);
  overlay.setAttribute("preserveAspectRatio", "none");
  overlay.setAttribute("aria-hidden", "true");
  const tags = [];
  for (const [which, group] of sized.entries()) {
    boxRoles(group).forEach((role, box) => {
      const [left, top, right, bottom] = group.boxes[box];
      const names = roleClass(role, scene, group);
      for (const layer of ["halo", "edge"]) {
        const rect = document.createElementNS(SVG, "rect");
        const sides = { x: left, y: top, width: right - left, height: bottom - top };
        for (const [name, value] of Object.entries(sides)) rect.setAttribute(name, value);
        rect.setAttribute("class", `${layer} ${names}`);
        rect.dataset.box = `${which}-${box}`;
        overlay.append(rect);
      }
      tags.push(tagOf(role, names, box, [left / width, top / height, right / width, bottom / height]));
    });
  }
  return [overlay, ...tags];
}

function tagOf(role, names, box, [left, top, right, bottom]) {
  const place = {};
  if (left > 0.66) place.right = `${Math.max(0, 100 * (1 - right))}%`;
  else place.left = `${Math.max(0, 100 * left)}%`;
  if (top > 0.07) place.bottom = `${100 * (1 - top)}%`;
  else if (bottom < 0.93) place.top = `${100 * bottom}%`;
  else place.top = "0%";
  return el("span", { class: `tag ${names}`, place, "aria-hidden": "true" }, `${box + 1} ${role.name}`);
}

function pictureOf(side, scene, seed) {
  const words = side.said.map(([, text]) => text).join("; ") || "nothing was measured";
  const size = (side.groups.find((group) => group.size) || {}).size;
  const ratio = size ? { "--ratio": (size[0] / size[1]).toFixed(4) } : {};
  if (!side.data) {
    const why = el("p", { class: "missing" }, side.why, el("span", { class: "quiet small" }, side.file || "no file named"));
    const link = side.href ? el("a", { href: side.href, class: "small" }, "open the file") : null;
    return el("figure", {}, el("div", { class: "frame empty" }, why, link));
  }
  const image = el("img", { alt: `${scene.id}, seed ${seed}: ${words}`, src: `data:image/webp;base64,${side.data}` });
  const frame = el("div", { class: size ? "frame sized" : "frame", place: ratio }, image, boxesOf(side, scene));
  if (!side.href) return el("figure", {}, frame);
  return el("figure", {}, el("a", { href: side.href, target: "_blank", title: "Open the full picture" }, frame));
}

function saidOf(side) {
  if (!side.said.length) return el("p", { class: "quiet" }, "Presence was not measured.");
  return el("ul", { class: "said" }, side.said.map(([tone, text]) => el("li", { class: tone }, text)));
}

const STATES = { found: "found", twice: "twice", absent: "absent", unmeasured: "unmeasured" };

function castOf(scene, side, thumbnail) {
  return el("ul", { class: "cast", "aria-label": "references" }, scene.subjects.map((subject) => {
    const [status, copies] = side.presence[subject.id] || [null, 0];
    const shown = status === "twice" && copies > 2 ? `${copies} times` : STATES[status];
    const photos = subject.refs.map((place, nth) => {
      const { data, why } = thumbnail(place);
      const name = subject.names[nth];
      if (!data) return el("span", { class: "ref lost small", title: name }, why);
      return el("img", { class: "ref", alt: `reference of ${subject.id}: ${name}`, title: name, src: `data:image/webp;base64,${data}` });
    });
    if (subject.more) photos.push(el("span", { class: "quiet small" }, `+${subject.more}`));
    if (!photos.length) photos.push(el("span", { class: "ref lost small" }, "no reference listed"));
    const label = el("span", { class: "who" }, el("span", { class: `swatch ${colorClass(scene, subject.id)}`, "aria-hidden": "true" }), el("b", {}, subject.id),
      status ? el("span", { class: `state ${status}` }, shown) : null);
    const noun = subject.noun && subject.noun !== subject.id ? el("span", { class: "quiet small noun" }, subject.noun) : null;
    return el("li", {}, el("span", { class: "photos" }, photos), label, noun);
  }));
}

function cellOf(value, matched) {
  const shade = Math.min(1, Math.max(0, value || 0));
  const names = ["heat", shade >= 0.68 ? "deep" : "", shade >= 0.55 ? "bright" : "", matched ? "matched" : ""];
  return el("td", { class: names.join(" ").trim(), place: { "--v": `${Math.round(100 * shade)}%` } },
    fixed(value, 2), matched ? el("span", { class: "sr" }, " (matched)") : null);
}

function matrixOf(group, scene, which) {
  const roles = boxRoles(group);
  const people = group.kind === "person";
  const title = `similarity of ${people ? "people to faces" : "subjects to boxes"}`;
  if (!roles.length) return el("p", { class: "quiet none" }, `${people ? "No face" : "No box"} was found in this picture.`);
  const light = (on) => (event) => {
    const card = event.currentTarget.closest(".side, article");
    for (const rect of card.querySelectorAll(`[data-box="${event.currentTarget.dataset.of}"]`)) rect.classList.toggle("lit", on);
  };
  const heads = roles.map((role, box) => el("th", { scope: "col", class: role.kind, "data-of": `${which}-${box}`, onmouseenter: light(true), onmouseleave: light(false) },
    el("b", {}, String(box + 1)), el("span", { class: "sub" }, role.kind === "match" ? "" : role.kind)));
  const rows = group.subjects.map((subject, row) => el("tr", {},
    el("th", { scope: "row" }, el("span", { class: `swatch ${colorClass(scene, subject)}`, "aria-hidden": "true" }), subject),
    roles.map((_, box) => cellOf(group.similarity[row][box], group.match[row] === box)),
    group.match[row] === null ? el("td", { class: "gone absent" }, "absent") : null));
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title },
    el("table", { class: "matrix" }, el("caption", {}, title),
      el("thead", {}, el("tr", {}, el("td", {}), heads)), el("tbody", {}, rows)));
}

const meanOf = (values) => (values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null);

// Per column: {subject or "": mean over the rows that were measured}.
function byColumn(side) {
  const found = new Map();
  for (const [column, subject, value, reason] of side ? side.scores : []) {
    if (!found.has(column)) found.set(column, { all: [], by: new Map(), reason: null });
    const entry = found.get(column);
    if (value === null) { entry.reason = reason; entry.by.set(subject || "", null); continue; }
    entry.all.push(value);
    if (subject !== null) entry.by.set(subject, value);
  }
  return found;
}

// A long metric name may break behind an underscore.
const breakable = (label) => label.split(/(?<=_)/).flatMap((part, nth) => (nth ? [el("wbr"), part] : [part]));

function scoresOf(sides, scene, index) {
  const [ours, theirs] = [byColumn(sides[0]), byColumn(sides[1])];
  const paired = index.names.length > 1;
  const columns = index.labels.map((_, column) => column).filter((column) => ours.has(column) || theirs.has(column));
  columns.sort((a, b) => (b === index.main) - (a === index.main) || a - b);
  const who = paired ? [] : scene.subjects.map((subject) => subject.id);
  const heads = paired ? ["this", "other", "change"] : ["all", ...who];
  const rows = columns.map((column) => {
    const entry = ours.get(column) || { all: [], by: new Map() };
    const mean = meanOf(entry.all);
    const cells = [el("td", { class: mean === null ? "quiet lack" : "strong", title: mean === null ? entry.reason : null }, mean === null ? "unmeasured" : fixed(mean))];
    if (paired) cells.push(...changeCells(mean, theirs.get(column), index.higher[column]));
    for (const subject of who) {
      const told = entry.by.has(subject);
      const value = told ? entry.by.get(subject) : null;
      cells.push(el("td", { title: told && value === null ? entry.reason : null }, told ? fixed(value, 2) : ""));
    }
    const way = index.higher[column] ? "\u2191" : "\u2193";
    return el("tr", {}, el("th", { scope: "row" }, breakable(index.labels[column]), el("span", { class: "way", "aria-hidden": "true" }, `\u00a0${way}`)), cells);
  });
  return el("details", { class: "scores", open: paired || window.innerWidth > 700 }, el("summary", {}, "Scores"),
    el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "metric"), heads.map((head) => el("th", { scope: "col" }, head)))), el("tbody", {}, rows))));
}

function changeCells(mean, twin, higher) {
  const other = twin ? meanOf(twin.all) : null;
  const change = mean === null || other === null ? null : mean - other;
  return [el("td", {}, twin ? (other === null ? "unmeasured" : fixed(other)) : DASH), el("td", { class: `strong ${toneOf(change, higher)}` }, signed(change))];
}

function toneOf(change, higher) {
  if (change === null || Math.abs(change) < 0.0005) return "";
  return change > 0 === higher ? "better" : "worse";
}

function headOf(entry, scene, index, rank) {
  const column = index.main;
  const value = column === null ? null : index.columns[column][rank];
  const other = column === null || !index.twin ? null : index.twin[column][rank];
  const parts = scene.prompt.split(/\{([^{}]+)\}/);
  const prompt = parts.map((text, nth) => {
    if (nth % 2 === 0) return text;
    const subject = scene.subjects.find((known) => known.id === text);
    return el("span", { class: `asked ${colorClass(scene, text)}` }, (subject && subject.noun) || text);
  });
  const change = value === null || other === null ? null : value - other;
  const score = column === null ? null : el("p", { class: "score" }, el("span", { class: "big" }, fixed(value)),
    index.twin ? el("span", { class: `delta ${toneOf(change, index.higher[column])}` }, signed(change)) : null,
    el("span", { class: "quiet small" }, index.labels[column]));
  const title = el("h3", {}, el("span", { class: "rank", title: "place from the worst" }, `#${rank + 1}`), ` ${scene.id} `, el("span", { class: "quiet seed" }, `seed ${entry.seed}`));
  return el("header", {}, title, score, scene.prompt ? el("p", { class: "prompt" }, prompt) : null);
}

function matricesOf(side, scene) {
  return side.groups.map((group, which) => matrixOf(group, scene, which));
}

function cardOf(entry, scene, index, rank, thumbnail) {
  const [ours, theirs] = entry.sides;
  const head = headOf(entry, scene, index, rank);
  if (index.names.length < 2) {
    return el("article", {}, head, pictureOf(ours, scene, entry.seed),
      el("div", { class: "told" }, saidOf(ours), castOf(scene, ours, thumbnail)),
      el("div", { class: "measured" }, matricesOf(ours, scene), scoresOf(entry.sides, scene, index)));
  }
  const side = (name, shown) => el("section", { class: "side", "aria-label": name }, el("h4", {}, name),
    shown ? [pictureOf(shown, scene, entry.seed), saidOf(shown), matricesOf(shown, scene)] : el("p", { class: "quiet none" }, "no twin in this run"));
  return el("article", {}, head, side(index.names[0], ours), side(index.names[1], theirs),
    el("div", { class: "told" }, castOf(scene, ours, thumbnail), scoresOf(entry.sides, scene, index)));
}
