// One sheet of questions: asked one at a time, kept in this browser, handed back as JSON.

(() => {
  const $ = (id) => document.getElementById(id);
  const survey = JSON.parse($("survey").textContent);
  const pictures = JSON.parse($("pictures").textContent);
  const references = JSON.parse($("references").textContent);
  const raters = survey.sheets.length;
  const ASPECTS = [
    ["subjects", "Subjects", "Where are they kept better: each there once, closely like the photos?"],
    ["text", "Words", "Which picture shows better what the words ask for?"],
    ["naturalness", "Naturalness", "Which picture looks more natural?"],
  ];
  const SIDES = [["left", "A"], ["equal", "Equal"], ["right", "B"]];
  const SAID = [["yes", "Yes"], ["no", "No"], ["unclear", "Cannot tell"]];
  const keeps = works();
  let state = null;
  let since = performance.now();

  function el(name, attributes = {}, ...children) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (key === "class") node.className = value;
      else if (value === true) node.setAttribute(key, "");
      else if (value !== false && value !== null) node.setAttribute(key, value);
    }
    node.append(...children.filter((child) => child !== null));
    return node;
  }

  // What is kept, by survey and sheet.

  const place = (rater) => `personae-survey-${survey.survey}-${rater}`;

  function works() {
    try {
      localStorage.setItem("personae-survey", "1");
      return localStorage.getItem("personae-survey") === "1";
    } catch { return false; }
  }

  function recall(rater) {
    const fresh = { rater, at: 0, answers: {}, ms: {} };
    try {
      const kept = JSON.parse(localStorage.getItem(place(rater)) || "null");
      return kept && kept.rater === rater ? { ...fresh, ...kept } : fresh;
    } catch { return fresh; }
  }

  function keep() {
    if (!state) return;
    try { localStorage.setItem(place(state.rater), JSON.stringify(state)); } catch { /* told at the start */ }
  }

  // Time runs only while the page is looked at.
  function clock(seen = !document.hidden) {
    const now = performance.now();
    const question = state && sheet()[state.at];
    if (question && seen) state.ms[question[0]] = Math.round((state.ms[question[0]] || 0) + now - since);
    since = now;
  }

  const sheet = () => survey.sheets[state.rater - 1];
  const isPair = (question) => question.length === 4;
  const subjectsOf = (question) => survey.scenes[question[1]].subjects;

  function openParts(question) {
    const given = state.answers[question[0]] || {};
    if (isPair(question)) return ASPECTS.map(([name]) => name).filter((name) => !given[name]);
    return subjectsOf(question).flatMap((_, number) => {
      const said = given[number] || {};
      if (!said.appears) return [`${number}-appears`];
      return said.appears === "yes" && !said.resembles ? [`${number}-resembles`] : [];
    });
  }

  // Pieces of a page.

  function zoomable(data, words) {
    const source = `data:image/webp;base64,${data}`;
    const enlarge = () => {
      $("large-picture").src = source;
      $("large-picture").alt = words;
      $("large").showModal();
    };
    return el("button", { type: "button", class: "zoom", "aria-label": `Enlarge: ${words}`, onclick: enlarge }, el("img", { src: source, alt: words }));
  }

  const badge = (number, many) => (many ? el("span", { class: "number" }, String(number + 1)) : null);

  function photosOf(question, number) {
    const many = subjectsOf(question).length > 1;
    const subject = subjectsOf(question)[number];
    const words = many ? `photo of ${number + 1}, ${subject.noun}` : `photo of ${subject.noun}`;
    return el("figure", {}, el("figcaption", {}, badge(number, many), " ", el("b", {}, subject.noun)),
      el("div", { class: "photos" }, ...subject.photos.map((photo) => zoomable(references[photo], words))));
  }

  function choice(question, name, legend, more, options, chosen, choose) {
    const labels = options.map(([value, words]) => el("label", {},
      el("input", { type: "radio", name: `${question[0]}-${name}`, value, checked: chosen === value, onchange: () => choose(value) }), words));
    return el("fieldset", { "data-part": name }, el("legend", {}, legend, more ? el("span", {}, more) : null), el("div", { class: "choices" }, ...labels));
  }

  function answer(question, part, name, value) {
    clock();
    const given = (state.answers[question[0]] ||= {});
    if (part === null) given[name] = value;
    else {
      given[part] = { ...given[part], [name]: value };
      if (name === "appears" && value !== "yes") delete given[part].resembles;
    }
    keep();
    mark(false);
    count();
  }

  function part(pair) {
    const kinds = sheet().map(isPair);
    const parts = new Set(kinds).size;
    const title = parts > 1 ? `Part ${kinds[0] === pair ? 1 : 2} of 2: ` : "";
    const lines = pair
      ? ["Two pictures were made for the same words and the same photos. Say which is better, by three aspects.",
        "If you see no difference in an aspect, choose Equal."]
      : ["You see a picture, and photos of who or what it should show.",
        "Say for each one whether it is in the picture exactly once (two of them is a No), and if so whether it closely resembles its photos. Pose, clothes that the photos do not share, light and surroundings may differ."];
    return { title: title + (pair ? "which picture is better?" : "is everyone there?"), lines };
  }

  function intro(pair) {
    const { title, lines } = part(pair);
    const words = title[0].toUpperCase() + title.slice(1);
    return el("section", { class: "part" }, el("h2", {}, words), ...lines.map((line) => el("p", {}, line)), el("p", { class: "quiet small" }, "Touch a picture to see it large. Keys: 1, 2, 3 answer, Enter goes on."));
  }

  function help(pair) {
    return el("details", { class: "help" }, el("summary", {}, "What is asked here?"), ...part(pair).lines.map((line) => el("p", { class: "quiet" }, line)));
  }

  function each(question) {
    const given = state.answers[question[0]] || {};
    const many = subjectsOf(question).length > 1;
    const cards = subjectsOf(question).map((subject, number) => {
      const said = given[number] || {};
      const which = many ? ` (${number + 1})` : "";
      const resembles = choice(question, `${number}-resembles`, `Does it closely resemble the photos${which}?`, "", SAID, said.resembles, (value) => answer(question, number, "resembles", value));
      resembles.hidden = said.appears !== "yes";
      const appears = choice(question, `${number}-appears`, `Is this ${subject.noun}${which} in the picture, exactly once?`, "", SAID, said.appears, (value) => {
        answer(question, number, "appears", value);
        resembles.hidden = value !== "yes";
        if (resembles.hidden) for (const input of resembles.querySelectorAll("input")) input.checked = false;
      });
      return el("section", { class: "subject", "aria-label": `${subject.noun}${which}` }, photosOf(question, number), appears, resembles);
    });
    const shown = el("figure", { class: "shown" }, zoomable(pictures[question[2]], "the picture"));
    return el("div", { class: "each" }, shown, el("div", { class: "list" }, ...cards));
  }

  function pair(question) {
    const given = state.answers[question[0]] || {};
    const scene = survey.scenes[question[1]];
    const many = scene.subjects.length > 1;
    const words = scene.prompt.flatMap((piece) => (typeof piece === "string" ? [piece] : [el("b", {}, scene.subjects[piece].noun), " ", badge(piece, many) || ""]));
    const two = [question[2], question[3]].map((shown, side) => el("figure", {}, el("figcaption", {}, el("b", {}, "AB"[side])), zoomable(pictures[shown], `picture ${"AB"[side]}`)));
    const aspects = ASPECTS.map(([name, title, more]) => choice(question, name, title, more, SIDES, given[name], (value) => answer(question, null, name, value)));
    return el("div", {}, el("p", { class: "asked" }, el("span", { class: "quiet" }, "Asked for: "), ...words),
      el("div", { class: "cast" }, ...scene.subjects.map((_, number) => photosOf(question, number))), el("div", { class: "two" }, ...two), el("div", { class: "aspects" }, ...aspects));
  }

  // Screens.

  function show(focus, ...children) {
    $("main").replaceChildren(...children);
    window.scrollTo(0, 0);
    const target = $("main").querySelector(focus);
    if (target) target.focus({ preventScroll: true });
  }

  function count() {
    const done = sheet().filter((question) => !openParts(question).length).length;
    $("bar").hidden = false;
    $("count").textContent = state.at < sheet().length ? `Question ${state.at + 1} of ${sheet().length}` : `${done} of ${sheet().length} answered`;
    $("progress").max = sheet().length;
    $("progress").value = done;
  }

  function go(to) {
    clock();
    state.at = Math.min(Math.max(0, to), sheet().length);
    keep();
    if (state.at === sheet().length) return finish();
    const question = sheet()[state.at];
    const first = state.at === 0 || isPair(sheet()[state.at - 1]) !== isPair(question);
    const title = el("h2", { class: "sr", tabindex: -1 }, `Question ${state.at + 1} of ${sheet().length}`);
    const turn = el("div", { class: "turn" },
      el("button", { type: "button", class: "plain", id: "back", disabled: state.at === 0, onclick: () => go(state.at - 1) }, "Back"),
      el("button", { type: "button", class: "main", id: "next", onclick: next }, state.at === sheet().length - 1 ? "Finish" : "Next"));
    count();
    return show("h2", title, first ? intro(isPair(question)) : "", isPair(question) ? pair(question) : each(question),
      el("p", { id: "problem", class: "warn", hidden: true }), turn, first ? "" : help(isPair(question)));
  }

  function mark(loud) {
    const open = openParts(sheet()[state.at]);
    if (!$("problem") || (!loud && $("problem").hidden)) return;
    $("problem").hidden = !open.length;
    $("problem").textContent = open.length ? `${open.length === 1 ? "One answer is" : `${open.length} answers are`} still open.` : "";
    for (const set of document.querySelectorAll("fieldset")) set.classList.toggle("open", open.includes(set.dataset.part));
    if (loud && open.length) {
      $("said").textContent = $("problem").textContent;
      const set = document.querySelector("fieldset.open");
      set.querySelector("input").focus({ preventScroll: true });
      set.scrollIntoView({ block: "nearest" });
    }
  }

  function next() {
    if (openParts(sheet()[state.at]).length) mark(true);
    else go(state.at + 1);
  }

  function outcome() {
    const answers = sheet().map((question) => {
      const given = state.answers[question[0]];
      const base = { question: question[0], ms: state.ms[question[0]] || 0 };
      if (isPair(question)) return { ...base, better: Object.fromEntries(ASPECTS.map(([name]) => [name, given[name]])) };
      return { ...base, subjects: subjectsOf(question).map((_, number) => ({ appears: given[number].appears, resembles: given[number].resembles || null })) };
    });
    return JSON.stringify({ format: "personae.survey.answers", version: 1, survey: survey.survey, rater: state.rater, answers });
  }

  function finish() {
    const missing = sheet().findIndex((question) => openParts(question).length);
    if (missing >= 0) return go(missing);
    const text = outcome();
    const box = el("textarea", { readonly: true, id: "text", rows: 6 });
    box.value = text;
    const link = el("a", { download: `answers-${survey.survey}-${state.rater}.json` });
    const save = () => {
      link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60000);
      tell("Saved as a file: send it back to who asked you.");
    };
    const copy = async () => {
      box.select();
      let done = false;
      try { await navigator.clipboard.writeText(text); done = true; } catch { done = document.execCommand("copy"); }
      tell(done ? "Copied: paste it into a message to who asked you." : "Could not copy: the text is marked, copy it by hand.");
    };
    const tell = (words) => { $("outcome").textContent = words; };
    count();
    return show("h1", el("div", { class: "page" }, el("h1", { tabindex: -1 }, "Thank you"),
      el("p", {}, "All questions are answered. Nothing has been sent yet: save your answers as a file, or copy them as text, and send them back to who asked you."),
      el("div", { class: "row" }, el("button", { type: "button", class: "main", id: "save", onclick: save }, "Save answers"), el("button", { type: "button", class: "plain", id: "copy", onclick: copy }, "Copy as text")),
      el("p", { id: "outcome", role: "status", class: "small" }), el("label", { class: "wide" }, el("span", { class: "quiet small" }, "Your answers as text"), box),
      el("button", { type: "button", class: "plain", id: "back", onclick: () => go(sheet().length - 1) }, "Back to the questions")));
  }

  // The address says which sheet: survey.html#rater=3.

  function named() {
    const rater = Number(new URLSearchParams(location.hash.slice(1)).get("rater"));
    return Number.isInteger(rater) && rater >= 1 && rater <= raters ? rater : null;
  }

  function start() {
    state = null;
    $("bar").hidden = true;
    const rater = named();
    const minutes = (questions) => Math.max(1, Math.round(questions.reduce((sum, question) => sum + (isPair(question) ? 20 : 10 * subjectsOf(question).length), 0) / 60));
    const number = el("input", { id: "rater", type: "number", inputmode: "numeric", min: 1, max: raters, required: true });
    const problem = el("p", { id: "problem", class: "warn", hidden: true, role: "alert" });
    const begin = (event) => {
      event.preventDefault();
      const chosen = rater || Number(number.value);
      if (!(Number.isInteger(chosen) && chosen >= 1 && chosen <= raters)) {
        problem.hidden = false;
        problem.textContent = `Expected your number, from 1 to ${raters}.`;
        return;
      }
      if (named() !== chosen) history.replaceState(null, "", `#rater=${chosen}`);
      state = recall(chosen);
      since = performance.now();
      go(state.at);
    };
    const kept = rater ? recall(rater) : null;
    const length = survey.sheets[(rater || 1) - 1];
    const words = kept && Object.keys(kept.answers).length ? `Go on at question ${Math.min(kept.at + 1, length.length)}` : "Begin";
    show("h1", el("form", { class: "page", novalidate: true, onsubmit: begin }, el("h1", { tabindex: -1 }, "Questions about pictures"),
      el("p", {}, `You will see pictures that computers drew, and photos of who or what they should show. There are ${rater ? "" : "about "}${length.length} questions, for about ${minutes(length)} minutes.`),
      el("p", { class: "quiet" }, "No opinion is wrong. A few questions are easy on purpose, and a few come twice. You can stop at any time: what you answered is kept in this browser. Nothing is sent anywhere; at the end you save your answers and send them back yourself."),
      keeps ? "" : el("p", { class: "warn" }, "This browser keeps nothing once the page is closed: please answer in one go."),
      rater ? el("p", { class: "quiet small" }, `You are number ${rater}.`) : el("label", {}, `Your number (1 to ${raters}), as you were told`, number),
      problem, el("button", { class: "main", id: "begin" }, words)));
  }

  function byKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || $("large").open || !state || state.at >= sheet().length) return;
    if (event.key === "Enter" && !event.target.closest("button, summary")) { event.preventDefault(); next(); }
    if (!["1", "2", "3"].includes(event.key)) return;
    const [open] = openParts(sheet()[state.at]);
    const input = open && document.querySelectorAll(`fieldset[data-part="${open}"] input`)[Number(event.key) - 1];
    if (input) { input.click(); input.focus(); }
  }

  $("close").addEventListener("click", () => $("large").close());
  $("large-picture").addEventListener("click", () => $("large").close());
  document.addEventListener("keydown", byKey);
  // When it turns hidden, it was seen until now.
  document.addEventListener("visibilitychange", () => { clock(document.hidden); keep(); });
  window.addEventListener("pagehide", () => { if (state) { clock(); keep(); } });
  window.addEventListener("hashchange", start);
  start();
})();
