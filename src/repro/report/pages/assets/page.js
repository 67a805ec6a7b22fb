"use strict";
// Every text reaches the page through textContent: what a record says can never become markup.
const data = JSON.parse(document.getElementById("data").textContent);
const cells = [...document.querySelectorAll("td.place")];
const form = document.getElementById("filters");
const search = document.getElementById("search");
const selects = [...form.querySelectorAll("select")];
const dialog = document.getElementById("detail");
const body = document.getElementById("detail-body");

function make(tag, text, children) {
  const node = document.createElement(tag);
  if (text !== undefined && text !== null) node.textContent = text;
  for (const child of children || []) node.append(child);
  return node;
}

function list(pairs) {
  const node = make("dl");
  for (const [name, value] of pairs) {
    if (value === null || value === undefined || value === "") continue;
    node.append(make("dt", name), value instanceof Node ? make("dd", null, [value]) : make("dd", value));
  }
  return node;
}

function table(head, rows) {
  const top = make("thead", null, [make("tr", null, head.map((text) => Object.assign(make("th", text), { scope: "col" })))]);
  const lines = make("tbody", null, rows.map((row) => make("tr", null, row.map((text) => make("td", text)))));
  const box = make("div", null, [make("table", null, [top, lines])]);
  box.className = "scroll";
  box.tabIndex = 0;
  return box;
}

function folded(title, node) {
  return make("details", null, [make("summary", title), node]);
}

function where(run) {
  return `record: ${data.places_of.record}/${run.key}/record.json; on the machine that ran it: ` +
    `${data.places_of.runs}/${run.key}/predictions-SPLIT.jsonl and prompt.safetensors`;
}

function runView(group, run) {
  const scores = Object.entries(run.metrics).map(([split, row]) =>
    [split, Object.entries(row).map(([name, value]) => `${name} ${value}`).join(", ")]);
  const parts = [list([
    ["status", run.status], ["reason", run.reason], ["scores", list(scores)], ["checkpoint", run.chosen],
    ["cost", run.cost], ["device", run.device], ["source", run.revision], ["files", where(run)],
  ]), make("pre", run.command)];
  if (run.curve.length) parts.push(folded(`Log: ${run.curve.length} evaluations`, table(run.curve_head, run.curve)));
  const node = folded(`seed ${run.seed}: ${run.status}, ${run.shown} (${run.key})`, make("div", null, parts));
  return node;
}

function groupView(index) {
  const group = data.groups[index];
  const node = make("section", null, [make("h3", group.name)]);
  node.append(list([
    ["experiment", group.experiment], ["recipe", group.recipe], ["parameters", group.parameters], ["data", group.data],
    ["not stated by paper or code", group.unknown], ["packages", group.packages],
  ]));
  if (group.deviations.length)
    node.append(folded(`${group.deviations.length} deviations from the paper`, make("ul", null, group.deviations.map((d) => make("li", d)))));
  for (const run of group.runs) node.append(runView(group, run));
  node.append(folded("Config (all but the seed)", make("pre", group.parts.map((part) => data.parts[part]).join("\n"))));
  return node;
}

function open(index) {
  const place = data.places[index];
  document.getElementById("detail-title").textContent = place.title;
  body.replaceChildren();
  if (place.source) body.append(make("h3", "The paper"), list(place.source));
  body.append(make("h3", "Ours"), list(place.ours));
  for (const group of place.groups) body.append(groupView(group));
  dialog.showModal();
  body.parentElement.scrollTop = 0;
}

function matches(place, wanted, words) {
  for (const [field, value] of wanted) if (place[field] !== value) return false;
  return words.every((word) => place.text.includes(word));
}

function apply() {
  const wanted = selects.filter((s) => s.value).map((s) => [s.name, s.value]);
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const active = wanted.length > 0 || words.length > 0;
  let shown = 0;
  const kept = new Set();
  for (const cell of cells) {
    const hit = matches(data.places[Number(cell.dataset.i)], wanted, words);
    cell.classList.toggle("dim", !hit);
    if (hit) { shown += 1; kept.add(cell.closest("tr")).add(cell.closest(".exhibit")); }
  }
  for (const row of document.querySelectorAll(".grid tbody tr")) row.hidden = !kept.has(row);
  for (const exhibit of document.querySelectorAll(".exhibit")) {
    exhibit.hidden = !kept.has(exhibit);
    if (active && kept.has(exhibit)) exhibit.open = true;
  }
  for (const paper of document.querySelectorAll(".paper"))
    paper.hidden = !paper.querySelector(".exhibit:not([hidden])");
  document.getElementById("shown").textContent = `${shown} of ${cells.length} numbers`;
}

for (const place of data.places) place.text = `${place.title} ${place.paper} ${place.method} ${place.model} ${place.task} ${place.verdict}`.toLowerCase();
for (const select of selects) {
  const values = [...new Set(data.places.map((place) => place[select.name]))].filter(Boolean).sort();
  for (const value of values) select.append(new Option(value, value));
}
form.hidden = false;
for (const kind of ["input", "change"]) form.addEventListener(kind, apply);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(apply));
document.getElementById("main").addEventListener("click", (event) => {
  const cell = event.target.closest("td.place");
  if (cell) open(Number(cell.dataset.i));
});
document.getElementById("close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
window.addEventListener("beforeprint", () => { for (const node of document.querySelectorAll("main details")) node.open = true; });
apply();
