const state = JSON.parse(document.getElementById("state").textContent);
const { items, classes } = state;
const MANY_CLASSES = 12;
const SHARP_SIDE = 64;

const at = (id) => document.getElementById(id);
const made = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const label = (id, text) => (at(id).firstElementChild.textContent = text);
const percent = (share) => {
  const rounded = Math.round(1000 * share) / 10;
  return `${(rounded >= 100 && share < 1 ? 99.9 : rounded).toFixed(1)} %`;
};
const isDone = (index) => state.done.includes(index);
const firstOpen = (from) => items.findIndex((_, index) => index >= from && !isDone(index));

let current = Math.max(0, firstOpen(0));
let busy = false;
let loading = 0;
let showing = 0;
let chosen = new Set();

const decisionOf = (picture) => state.labels[picture.id];
const spoken = (name) => (name === state.drop ? "dropped" : name);

function showProgress() {
  const share = items.length ? state.done.length / items.length : 1;
  at("bar").firstElementChild.style.setProperty("--share", share);
  at("bar").setAttribute("aria-valuemax", items.length);
  at("bar").setAttribute("aria-valuenow", state.done.length);
  at("count").textContent = `${state.done.length} of ${items.length}`;
}

function tell(text, alarm = false) {
  at("message").textContent = text;
  at("message").className = alarm ? "alarm" : "";
}

function show(index) {
  current = Math.min(Math.max(index, 0), items.length);
  showing += 1;
  loading = 0;
  showProgress();
  const atEnd = current === items.length;
  at("question").hidden = atEnd;
  at("end").hidden = !atEnd;
  at("back").disabled = current === 0;
  at("forward").disabled = atEnd;
  at("place").textContent = atEnd ? "end" : `${current + 1} / ${items.length}`;
  if (atEnd) showEnd();
  else showItem(items[current]);
}

function showItem(item) {
  const [first] = item.pictures;
  const single = item.pictures.length === 1;
  chosen = new Set(item.pictures.keys());
  at("origin").replaceChildren(item.origin[0].toUpperCase() + item.origin.slice(1));
  if (single) at("origin").append(", ", made(first.split === "test" ? "b" : "span", { textContent: `${first.split} split` }));
  showPictures(item);
  showEvidence(item);
  const decided = item.pictures.map(decisionOf);
  at("note").textContent = decided.some(Boolean)
    ? `Decided: ${decided.map((name) => (name ? spoken(name) : "open")).join(", ")}. Another answer replaces this one.`
    : "";
  at("filter").value = "";
  showAnswers();
}

function showAnswers() {
  const item = items[current];
  const single = item.pictures.length === 1;
  const all = chosen.size === item.pictures.length;
  const [first] = item.pictures;
  const them = single ? "it" : all ? "all" : `the ${chosen.size} chosen`;
  at("ask").replaceChildren();
  if (single && item.suggested) at("ask").append("Is this ", made("em", { textContent: item.suggested }), ` rather than ${first.label}?`);
  else if (item.kind === "exact") at("ask").append("One image, different labels: which is right?");
  else at("ask").append("These look the same: which label is right?");
  at("accept").hidden = !item.suggested;
  label("accept", single ? `Yes, ${item.suggested}` : `${item.suggested} for ${them}`);
  label("keep", single ? `No, keep ${first.label}` : all ? "Keep all labels as they are" : `Keep the labels of ${them}`);
  label("drop", all ? (single ? "Drop" : "Drop all") : `Drop ${chosen.size}`);
  at("classes-head").textContent = single ? "Another class" : `A class for ${them}`;
  for (const id of ["accept", "keep", "drop"]) at(id).disabled = chosen.size === 0;
  showClasses(item);
}

function showClasses(item) {
  const wanted = at("filter").value.trim().toLowerCase();
  const given = new Set(item.pictures.map((picture) => picture.label));
  const taken = new Set(item.pictures.map(decisionOf));
  const found = classes.filter(({ name }) => name.toLowerCase().includes(wanted));
  at("filter").hidden = classes.length <= MANY_CLASSES;
  at("classes").replaceChildren(
    ...found.map(({ name, key }, index) => {
      const button = made("button", { type: "button", disabled: chosen.size === 0 }, made("span", { textContent: name }));
      if (key) button.append(made("kbd", { textContent: key.toUpperCase() }));
      button.classList.toggle("given", given.has(name));
      button.classList.toggle("taken", taken.has(name));
      button.classList.toggle("first-match", wanted !== "" && index === 0);
      button.addEventListener("click", () => decide(name));
      return button;
    }),
  );
}

function showEvidence(item) {
  at("evidence").replaceChildren();
  if (item.prob_suggested === null) {
    if (item.pictures.length > 1) at("evidence").append(made("p", { className: "note", textContent: "An answer is for all pictures; press on one to leave it out." }));
    return;
  }
  const rows = [
    ["suggested", item.suggested, item.prob_suggested, "rail first"],
    ["given", item.pictures[0].label, item.prob_label, "rail"],
  ];
  const list = made("dl", { className: "odds" });
  for (const [what, name, share, kind] of rows) {
    const fill = made("i");
    fill.style.setProperty("--share", share);
    list.append(made("dt", {}, `${what} `, made("b", { textContent: name })), made("dd", { className: kind }, fill), made("dd", { textContent: percent(share) }));
  }
  at("evidence").append(list);
}

function showPictures(item) {
  const many = item.pictures.length > 1;
  const place = at("pictures");
  place.className = `pictures ${many ? "many" : "one"}`;
  const columns = item.pictures.length <= 3 ? item.pictures.length : Math.ceil(Math.sqrt(item.pictures.length));
  place.style.setProperty("--columns", columns);
  place.style.setProperty("--rows", Math.min(2, Math.ceil(item.pictures.length / columns)));
  loading = item.pictures.length;
  place.replaceChildren(...item.pictures.map((picture, position) => figure(picture, position, many)));
  const next = items[current + 1];
  if (next) for (const picture of next.pictures) new Image().src = addressOf(picture);
}

const addressOf = (picture) => `image?id=${encodeURIComponent(picture.id)}`;

function figure(picture, position, many) {
  const frame = made(many ? "button" : "div", { className: "frame" });
  const image = made("img", { alt: `${picture.label || "unlabelled"}, ${picture.split} split: ${picture.id}` });
  const mine = showing;
  const loaded = () => mine === showing && (loading -= 1);
  image.addEventListener("load", () => {
    image.classList.toggle("sharp", Math.max(image.naturalWidth, image.naturalHeight) <= SHARP_SIDE);
    loaded();
  });
  image.addEventListener("error", async () => {
    loaded();
    image.replaceWith(made("p", { className: "fault", textContent: await faultOf(picture) }));
  });
  image.src = addressOf(picture);
  frame.append(image);
  if (many) {
    frame.type = "button";
    frame.setAttribute("aria-pressed", "true");
    frame.append(made("span", { className: "tick", textContent: "✓", ariaHidden: "true" }));
    frame.addEventListener("click", () => toggle(frame, position));
  }
  const caption = made("figcaption");
  if (many) {
    caption.append(made("b", { textContent: picture.label || "no label" }));
    caption.append(made("span", { className: `split ${picture.split === "test" ? "test" : ""}`, textContent: picture.split }));
  }
  caption.append(made("span", { className: "id", textContent: picture.id }));
  return made("figure", {}, frame, caption);
}

async function faultOf(picture) {
  try {
    return (await (await fetch(addressOf(picture))).json()).error;
  } catch {
    return "This picture could not be loaded.";
  }
}

function toggle(frame, position) {
  const on = !chosen.delete(position);
  if (on) chosen.add(position);
  frame.setAttribute("aria-pressed", on);
  showAnswers();
}

function showEnd() {
  const left = items.length - state.done.length;
  at("end-head").textContent = left ? `${left} left to decide` : "All is decided";
  at("end-text").textContent = `The decisions are in ${state.file}.`;
  const rows = Object.entries(state.tally);
  const written = rows.some(([, number]) => number > 0);
  at("tally").replaceChildren(
    ...rows.map(([change, number]) => made("div", {}, made("dt", { textContent: change }), made("dd", { textContent: number }))),
  );
  at("end-text").hidden = at("tally").hidden = at("next").hidden = !written;
  at("again").hidden = !left;
  at("end-undo").hidden = !written;
  at("end-head").focus();
}

async function send(name, content) {
  if (busy) return null;
  busy = true;
  try {
    const answer = await fetch(name, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(content),
    });
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.error);
    Object.assign(state, { done: told.done, labels: told.labels, tally: told.tally });
    return told;
  } catch (error) {
    const gone = error instanceof TypeError;
    tell(gone ? "The page has lost its server. What was decided is in the file; start make relabel again." : error.message, true);
    return null;
  } finally {
    busy = false;
  }
}

async function decide(name) {
  // a decision is about a picture that was seen
  if (current === items.length || loading > 0 || chosen.size === 0) return;
  const item = items[current];
  const told = await send("decide", { item: current, label: name, pictures: [...chosen] });
  if (!told) return;
  const before = [...new Set(item.pictures.map((picture) => picture.label || "no label"))].join(", ");
  tell(name === null ? `${before}: kept` : name === state.drop ? `${before}: dropped` : `${before} → ${name}`);
  goOn();
}

function goOn() {
  const next = firstOpen(current + 1);
  show(next < 0 ? items.length : next);
}

async function undo() {
  const told = await send("undo", {});
  if (!told) return;
  if (told.item === null) return tell("There is nothing to undo");
  tell("Taken back");
  show(told.item);
}

const skip = () => (tell(""), goOn());
const turn = (by) => (tell(""), show(current + by));
const again = () => (tell(""), show(Math.max(0, firstOpen(0))));
const accept = () => items[current]?.suggested && decide(items[current].suggested);
const keep = () => decide(null);
const drop = () => decide(state.drop);

const COMMANDS = { enter: accept, y: accept, n: keep, k: keep, d: drop, u: undo, s: skip, arrowleft: () => turn(-1), arrowright: () => turn(1) };
const BUTTONS = { accept, keep, drop, undo, skip, again, back: () => turn(-1), forward: () => turn(1), "end-undo": undo };

for (const [id, action] of Object.entries(BUTTONS)) at(id).addEventListener("click", action);

// a button that was pressed with the mouse would take the next Enter for itself
document.addEventListener("click", (event) => event.detail > 0 && event.target.closest("button")?.blur());

at("filter").addEventListener("input", () => showClasses(items[current]));
at("filter").addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    event.preventDefault();
    at("filter").value = "";
    at("filter").blur();
    showClasses(items[current]);
  }
  if (event.key !== "Enter" || !at("filter").value.trim()) return;
  event.preventDefault();
  const first = at("classes").querySelector("button");
  at("filter").blur();
  first?.click();
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target === at("filter")) return;
  const key = event.key.toLowerCase();
  const turning = key.startsWith("arrow");
  if (event.repeat && !turning) return event.preventDefault();
  if (key === "enter" && event.target.closest("button")) return;
  if (key === "/" && !at("filter").hidden) {
    event.preventDefault();
    at("filter").focus();
    return;
  }
  const atEnd = current === items.length;
  const name = classes.find((entry) => entry.key === key)?.name;
  let action = COMMANDS[key] ?? (name !== undefined ? () => decide(name) : null);
  if (atEnd && key === "enter") action = again;
  if (atEnd && ["s", "arrowright"].includes(key)) action = null;
  if (!action) return;
  event.preventDefault();
  action();
});

show(current);
