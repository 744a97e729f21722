"use strict";
// The page is complete without this: here are only sorting, hiding, and finding a trial again in all pictures.
const page = document.documentElement;
const facts = JSON.parse(document.getElementById("facts").textContent);
const tip = document.getElementById("tip");

const marksOf = new Map();
for (const element of document.querySelectorAll("[data-t]")) {
  const trial = element.dataset.t;
  if (!marksOf.has(trial)) marksOf.set(trial, []);
  marksOf.get(trial).push(element);
}

let shown = null;
let pinned = null;

function show(trial) {
  if (shown === trial) return;
  for (const element of marksOf.get(shown) || []) element.classList.remove("hot");
  for (const element of marksOf.get(trial) || []) {
    element.classList.add("hot");
    if (element.tagName === "polyline") element.parentNode.append(element);
  }
  document.body.classList.toggle("has-hot", trial !== null);
  shown = trial;
}

function tell(trial, x, y) {
  const lines = facts.trials[trial];
  tip.style.display = lines ? "block" : "none";
  if (!lines) return;
  tip.replaceChildren(...lines.map((line) => Object.assign(document.createElement("div"), { textContent: line })));
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - width - 8))}px`;
  tip.style.top = `${Math.max(4, y + 18 + height > innerHeight ? y - height - 12 : y + 18)}px`;
}

function trialAt(event) {
  const element = event.target.closest?.("[data-t]");
  return element ? element.dataset.t : null;
}

document.addEventListener("pointerover", (event) => {
  const trial = trialAt(event);
  show(trial ?? pinned);
  tell(trial, event.clientX, event.clientY);
});
document.addEventListener("click", (event) => {
  if (event.target.closest("button, a")) return;
  const trial = trialAt(event);
  pinned = trial === pinned ? null : trial;
  show(pinned);
});
document.addEventListener("focusin", (event) => show(trialAt(event) ?? pinned));
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  pinned = null;
  show(null);
  tip.style.display = "none";
});

for (const key of document.querySelectorAll("button.key")) {
  key.addEventListener("click", () => {
    const visible = key.getAttribute("aria-pressed") !== "true";
    key.setAttribute("aria-pressed", visible);
    document.body.classList.toggle(`hide${key.dataset.v}`, !visible);
  });
}

document.getElementById("theme").addEventListener("click", () => {
  const dark = page.dataset.theme ? page.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  page.dataset.theme = dark ? "light" : "dark";
});

function valueOf(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.v ?? cell.textContent;
  return text === "" || text === "-" || isNaN(text) ? text : Number(text);
}

function order(a, b) {
  if (typeof a === typeof b) return typeof a === "number" ? a - b : a.localeCompare(b);
  return typeof a === "number" ? -1 : 1; // what has no number comes last
}

for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.parentNode;
    const body = head.closest("table").tBodies[0];
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...body.rows].sort((a, b) => order(valueOf(a, head.cellIndex), valueOf(b, head.cellIndex)));
    body.append(...(down ? rows.reverse() : rows));
  });
}
