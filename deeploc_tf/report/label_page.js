// First labels: crops, a key for each class, and a table of keys and labels.
const total = data.keys.length, clustered = data.order === "clusters";
const rowOf = new Map(data.keys.map((key, row) => [key, row]));
const order = data.groups.flat();
const placeOf = new Int32Array(total), groupOf = new Int32Array(total);
order.forEach((row, place) => { placeOf[row] = place; });
data.groups.forEach((rows, group) => { for (const row of rows) groupOf[row] = group; });
const classes = [...data.classes];
const labels = new Map(); // key -> class; of crops that are not on this page, too
const history = []; // of each step: the row where it began, and [key, label before] of what it changed
let current = order[0], shown = -1, unsaved = false, kept = true;

const picture = (row) => `data:image/webp;base64,${data.images[row]}`;
const labelOf = (row) => labels.get(data.keys[row]);
const letter = (name) => data.letters[classes.indexOf(name)] || "";
const color = (name) => data.palette[classes.indexOf(name) % data.palette.length].replace("#000000", "var(--ink)"); // seen on a dark screen, too
const folded = (name) => name.normalize("NFKC").toLowerCase().trim().replace(/\s+/g, " ");
const say = (sentence) => { at("status").textContent = sentence; };

// ---- What is kept in the browser, which may refuse -----------------------------------------------

const STORE = `deeploc-tf label ${data.id}`;
function keep() {
  try { localStorage.setItem(STORE, JSON.stringify([...labels])); kept = true; } catch { kept = false; }
}
function recall() {
  try {
    for (const [key, name] of JSON.parse(localStorage.getItem(STORE) || "[]")) labels.set(String(key), String(name));
  } catch { kept = false; }
}

// ---- Labels --------------------------------------------------------------------------------------

/** Give keys their labels, null for none, as one step that can be undone. */
function assign(pairs) {
  history.push([current, pairs.map(([key]) => [key, labels.get(key) ?? null])]);
  put(pairs);
}
function put(pairs) {
  for (const [key, name] of pairs) {
    if (name === null) labels.delete(key);
    else labels.set(key, name);
  }
  unsaved = true;
  keep();
  learn();
}
/** Labels of a loaded table that are no class of the page become further ones. */
function learn() {
  const known = new Set(classes);
  for (const name of labels.values()) if (!known.has(name)) { known.add(name); classes.push(name); }
  if (at("classes").childElementCount !== classes.length) showClasses();
}

function choose(name, whole) {
  const rows = whole && clustered ? data.groups[groupOf[current]].filter((row) => !labelOf(row)) : [current];
  if (!rows.length) return say("All crops of this cluster have a label already.");
  assign(rows.map((row) => [data.keys[row], name]));
  say(whole && clustered ? `${count(rows.length, "crop")} of the cluster: ${name}.` : "");
  at("whole").checked = false;
  go(unlabeledAfter(placeOf[current]));
}
/** The next crop without a label, from the start again after the last; else the next one. */
function unlabeledAfter(place) {
  for (let step = 1; step <= total; step++) {
    const row = order[(place + step) % total];
    if (!labelOf(row)) return row;
  }
  say("Every crop has a label. Save the table.");
  return order[Math.min(place + 1, total - 1)];
}
function undo() {
  const last = history.pop();
  if (!last) return say("There is nothing to undo.");
  put(last[1]);
  say(`Undone: ${count(last[1].length, "label")}.`);
  go(last[0]);
}
function remove() {
  if (labelOf(current)) assign([[data.keys[current], null]]);
  show();
}
const back = () => go(order[(placeOf[current] + total - 1) % total]);
const skip = () => go(unlabeledAfter(placeOf[current]));
const turn = (step) => go(data.groups[(groupOf[current] + step + data.groups.length) % data.groups.length][0]);

// ---- What is seen --------------------------------------------------------------------------------

function go(row) {
  current = row;
  show();
}

function showClasses() {
  at("classes").replaceChildren(...classes.map((name) => {
    const button = make("button", { type: "button", onclick: (event) => choose(name, event.shiftKey || at("whole").checked) },
      make("kbd", {}, letter(name) || "–"), text(name), make("span", { className: "number" }));
    button.style.setProperty("--own", color(name));
    return button;
  }));
}

function showGroup() {
  const inside = at("crops").contains(document.activeElement);
  shown = groupOf[current];
  at("crops").replaceChildren(...data.groups[shown].map((row) =>
    make("button", { type: "button", onclick: () => go(row) }, make("img", { src: picture(row), alt: "" }))));
  if (inside) at("crops").children[data.groups[shown].indexOf(current)].focus();
}

function show() {
  if (shown !== groupOf[current]) showGroup();
  const rows = data.groups[shown];
  rows.forEach((row, index) => {
    const button = at("crops").children[index], name = labelOf(row);
    button.classList.toggle("labeled", Boolean(name));
    button.classList.toggle("current", row === current);
    if (row === current) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    button.dataset.mark = name || "";
    button.title = data.keys[row];
    button.setAttribute("aria-label", `${data.keys[row]}: ${name || "no label"}`);
    button.style.setProperty("--own", name ? color(name) : "transparent");
  });
  const here = data.keys.filter((key) => labels.has(key)).length, number = new Map();
  for (const name of labels.values()) number.set(name, (number.get(name) || 0) + 1);
  [...at("classes").children].forEach((button, index) => {
    button.setAttribute("aria-pressed", String(labelOf(current) === classes[index]));
    button.lastChild.textContent = number.get(classes[index]) || "";
  });
  at("crop").src = picture(current);
  at("crop").alt = `Crop ${data.keys[current]}`;
  at("name").replaceChildren(text(data.keys[current]));
  at("own").replaceChildren(text(labelOf(current) || ""));
  at("done").max = total;
  at("done").value = here;
  at("count").textContent = `${here.toLocaleString("en")} of ${count(total, "crop")} labeled`;
  const last = rows.length - 1, first = placeOf[rows[0]] + 1;
  at("group-title").textContent = clustered ? `Cluster ${shown + 1} of ${data.groups.length}`
    : `Crops ${first.toLocaleString("en")} to ${(first + last).toLocaleString("en")}`;
  at("group-count").textContent = `${count(rows.length, "crop")}, ${rows.filter(labelOf).length} labeled`;
  at("save").disabled = !labels.size;
  at("undo").disabled = !history.length;
  at("remove").disabled = !labelOf(current);
  at("clear").disabled = !labels.size;
  at("previous").disabled = at("next").disabled = data.groups.length < 2;
}

// ---- Tables --------------------------------------------------------------------------------------

function csv() {
  const others = [...labels.keys()].filter((key) => !rowOf.has(key));
  const keys = [...order.map((row) => data.keys[row]).filter((key) => labels.has(key)), ...others];
  return [["key", "label"], ...keys.map((key) => [key, labels.get(key)])].map((row) => row.map(quoted).join(",") + "\n").join("");
}

/** Rows of a table whose values may stand in quotation marks. */
function parsed(content, delimiter) {
  const rows = [[]];
  let value = "", inside = false;
  for (let i = 0; i < content.length; i++) {
    const mark = content[i];
    if (inside) {
      if (mark !== '"') value += mark;
      else if (content[i + 1] === '"') { value += mark; i++; } else inside = false;
    } else if (mark === '"' && !value) inside = true;
    else if (mark === delimiter) { rows.at(-1).push(value); value = ""; }
    else if (mark === "\n") { rows.at(-1).push(value); value = ""; rows.push([]); }
    else if (mark !== "\r") value += mark;
  }
  if (value || rows.at(-1).length) rows.at(-1).push(value);
  return rows.filter((row) => row.length).map((row) => row.map(unescaped));
}

async function load(file) {
  const content = (await file.text()).replace(/^\uFEFF/, ""), head = content.split("\n", 1)[0];
  const delimiter = [",", ";", "\t"].find((mark) => head.includes(mark)) || ",";
  const [names, ...rows] = parsed(content, delimiter);
  const columns = (names || []).map((name) => name.trim().toLowerCase());
  const key = columns.indexOf("key"), label = columns.indexOf("label");
  if (key < 0 || label < 0) return say(`A table must have the columns key and label. Received: ${columns.join(", ") || "no columns"} in ${file.name}.`);
  const ours = new Map(classes.map((name) => [folded(name), name]));
  const pairs = rows.filter((row) => row[key] && (row[label] || "").trim())
    .map((row) => [row[key], ours.get(folded(row[label])) || row[label].trim()]);
  assign(pairs);
  const here = pairs.filter(([own]) => rowOf.has(own)).length;
  go(unlabeledAfter(total - 1));
  say(`${count(pairs.length, "label")} loaded from ${file.name}, ${here.toLocaleString("en")} of crops on this page. All are saved again.`);
}

// ---- Start ---------------------------------------------------------------------------------------

const ways = { clusters: `${count(data.groups.length, "cluster")} of similar crops`, "least-certain": "least certain first", random: "random order" };
at("subtitle").textContent = `${total.toLocaleString("en")} of ${count(data.total, "crop")}, ${ways[data.order]}`;
at("written").textContent = `Written by deeploc-tf ${data.version}. Each crop and channel is stretched by itself. Nothing on this page is loaded from a network.`;
const hues = data.channels.length > 1 ? ["green", "magenta"] : ["gray"];
at("channels").append(...data.channels.map((name, index) => make("span", {}, make("i", { className: hues[index] }), text(name))));
const help = [[[...new Set([data.letters[0], data.letters[data.classes.length - 1]])].join(" to "), "label the crop, and go to the next without a label"],
  ["Backspace", "undo the last step"], ["→ or Space", "skip: the crop keeps no label and comes again at the end"], ["←", "back to the crop before"],
  ["Delete", "remove the label of the crop"], ["Page Up, Page Down", clustered ? "another cluster" : "other crops"]];
if (clustered) help.splice(1, 0, ["Shift and a key", "label all crops of the cluster that have no label yet: label the odd ones first"]);
at("help").append(...help.flatMap(([keys, what]) => [make("dt", {}, make("kbd", {}, keys)), make("dd", {}, what)]));
at("sweep").hidden = !clustered;

const steps = { Backspace: undo, ArrowRight: skip, " ": skip, ArrowLeft: back, Delete: remove, PageDown: () => turn(1), PageUp: () => turn(-1) };
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input:not([type=checkbox]), textarea, select");
  if (event.altKey || typing || event.isComposing) return;
  if (event.ctrlKey || event.metaKey) {
    if (event.key.toLowerCase() === "z") { event.preventDefault(); undo(); }
    return;
  }
  if (event.key === " " && event.target.matches("button, input, summary")) return; // presses these
  // With Shift a digit is another sign, and on some keyboards it is one only then.
  const digit = /^(?:Digit|Numpad)([0-9])$/.exec(event.code), other = /^Key([A-Z])$/.exec(event.code);
  const typed = digit ? digit[1] : /^[a-z]$/i.test(event.key) ? event.key : other ? other[1] : "\n";
  const place = data.letters.indexOf(typed.toLowerCase());
  const step = place >= 0 && place < classes.length ? () => choose(classes[place], event.shiftKey || at("whole").checked) : steps[event.key];
  if (!step) return;
  event.preventDefault();
  if (!event.repeat || step === skip || step === back) step();
});
at("undo").addEventListener("click", undo);
at("back").addEventListener("click", back);
at("skip-crop").addEventListener("click", skip);
at("remove").addEventListener("click", remove);
at("previous").addEventListener("click", () => turn(-1));
at("next").addEventListener("click", () => turn(1));
at("clear").addEventListener("click", () => {
  const number = labels.size;
  assign([...labels.keys()].map((key) => [key, null]));
  go(order[0]);
  say(`${count(number, "label")} removed. Undo brings them back.`);
});
at("save").addEventListener("click", () => { save(csv(), "text/csv", "labels.csv"); unsaved = false; say(`${count(labels.size, "label")} saved as labels.csv.`); });
at("load").addEventListener("click", () => at("file").click());
at("file").addEventListener("change", async () => {
  const [file] = at("file").files;
  if (file) await load(file);
  at("file").value = "";
});
at("brightness").addEventListener("input", () => document.documentElement.style.setProperty("--brightness", at("brightness").value));
addEventListener("beforeunload", (event) => { if (unsaved && !kept) event.preventDefault(); });

recall();
learn();
go(labels.size ? unlabeledAfter(total - 1) : order[0]);
say(labels.size ? `${count(labels.size, "label")} of before, kept by this browser.` : kept ? "" : "This browser keeps no labels: save the table before you leave.");
