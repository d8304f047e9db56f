// The interactive map.
const total = data.proteins.length;
const COLLATOR = new Intl.Collator("en", { numeric: true });
const SHAPES = ["circle", "square", "up", "diamond", "down", "plus", "cross"];
// Cividis, which changes in brightness alone for most color-blind people.
const RAMP = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838"];
const RAMP_STEPS = 24, MAX_CLASSES = 40, MAX_TERMS = 24, MAX_RESULTS = 50, MAX_NAMES = 60, ROWS = 50;
const FONT = "12px system-ui, sans-serif", REGION_FONT = "bold 13px system-ui, sans-serif";
const OTHER = "#9aa3ae", NONE = "#c3c9d0", DIM = "#e3e6ea";
const INK = "#1d2430", ACCENT = "#0a5c91", HALO = "#ffffff", EDGE = "rgba(29,36,48,.75)";
// What is drawn in these colors has others on a dark screen; the rest of the palette is seen on both.
const ON_DARK = { "#000000": "#ffffff", [OTHER]: "#86909d", [NONE]: "#596372", [DIM]: "#2b323c", [INK]: "#e6eaf0",
  [ACCENT]: "#79bdf0", [HALO]: "#101419", [EDGE]: "rgba(230,234,240,.75)" };
const darkScreen = window.matchMedia("screen and (prefers-color-scheme: dark)");
let dark = darkScreen.matches;
const tone = (color) => dark && ON_DARK[color.toLowerCase()] || color;
const background = () => dark ? 0xff191410 : 0xfffdfdfc; // of the stage, as its bytes lie in memory

// ---- Elements and numbers ------------------------------------------------------------------------

function unpack(packed, Type) {
  const raw = atob(packed), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return new Type(bytes.buffer);
}

const number = (value) => Number.isNaN(value) ? "" : String(Number(value.toPrecision(5)));
const folded = (value) => value.normalize("NFKC").toLowerCase().trim();

const places = unpack(data.places, Float32Array);
const neighbors = {
  count: data.neighbors.count,
  rows: unpack(data.neighbors.rows, Int32Array),
  similarities: unpack(data.neighbors.similarities, Float32Array),
};
const sketch = data.sketch && { ...data.sketch, codes: unpack(data.sketch.codes, Int8Array), scales: unpack(data.sketch.scales, Float32Array) };
const aliases = (row) => data.aliases[row] || [];
const crops = (row) => data.crops ? data.crops.images[row] : [];

/** What a protein has in a column or a standard: `texts(row)` to read, `codes(row)` among `classes`. */
const fields = [];
for (const column of data.columns) {
  if (column.numbers) {
    const values = unpack(column.numbers, Float64Array);
    fields.push({ name: column.name, kind: "numbers", values, show: (row) => number(values[row]),
      csv: (row) => Number.isNaN(values[row]) ? "" : String(values[row]) });
  } else {
    const codes = unpack(column.codes, Int32Array);
    const show = (row) => codes[row] < 0 ? "" : column.classes[codes[row]];
    fields.push({ name: column.name, kind: "classes", classes: column.classes, show, csv: show,
      codes: (row) => codes[row] < 0 ? [] : [codes[row]] });
  }
}
for (const standard of data.standards) {
  const starts = unpack(standard.starts, Int32Array), members = unpack(standard.members, Int32Array);
  const codes = (row) => members.subarray(starts[row], starts[row + 1]);
  const show = (row) => Array.from(codes(row), (code) => standard.terms[code]).join("; ");
  fields.push({ name: standard.name, kind: "terms", classes: standard.terms, codes, show, csv: show, regions: standard.regions });
}
const standards = fields.filter((field) => field.kind === "terms");
const naming = standards.filter((field) => field.regions.length);

// ---- What is selected, and how it is drawn -------------------------------------------------------

const selection = { search: null, classes: new Set(), lasso: null };
const selected = new Uint8Array(total).fill(1);
let numSelected = total;
let colored = null; // {field, entries: [{name, code, size, style}], style: Uint8Array, ends, rule}
let styles = [];
let chosen = -1, beside = -1, hovered = -1; // beside: the second of two that are compared
let picking = false;

const isFiltered = () => Boolean(selection.search || selection.classes.size || selection.lasso);

/** Colors, shapes and legend for a field; the larger a class, the earlier in the palette. */
function colorBy(field) {
  selection.classes.clear();
  styles = [{ color: DIM, shape: "circle", small: true }, { color: NONE, shape: "circle", small: true }];
  const style = new Uint8Array(total).fill(1);
  const entries = [];
  let ends = null, rule = "";
  if (!field) {
    styles.push({ color: data.palette[0], shape: "circle" });
    style.fill(2);
  } else if (field.kind === "numbers") {
    const sorted = field.values.filter((value) => !Number.isNaN(value)).sort();
    const end = (share) => sorted[Math.round(share * (sorted.length - 1))];
    ends = sorted.length ? [end(.01), end(.99)] : [NaN, NaN];
    for (let step = 0; step < RAMP_STEPS; step++) {
      styles.push({ color: rampColor(step / (RAMP_STEPS - 1)), shape: "circle" });
    }
    const span = ends[1] - ends[0] || 1;
    for (let row = 0; row < total; row++) {
      const share = Math.min(1, Math.max(0, (field.values[row] - ends[0]) / span));
      if (!Number.isNaN(share)) style[row] = 2 + Math.round(share * (RAMP_STEPS - 1));
    }
    rule = "Colors end at the 1st and the 99th percentile.";
  } else {
    const sizes = new Int32Array(field.classes.length);
    for (let row = 0; row < total; row++) for (const code of field.codes(row)) sizes[code]++;
    let codes = Array.from(sizes.keys()).filter((code) => sizes[code]);
    if (field.kind === "terms" && codes.length > MAX_TERMS) {
      codes = codes.filter((code) => sizes[code] <= .6 * total); // a root of an ontology says nothing
    }
    codes.sort((a, b) => sizes[b] - sizes[a] || COLLATOR.compare(field.classes[a], field.classes[b]));
    const shown = codes.slice(0, field.kind === "terms" ? MAX_TERMS : MAX_CLASSES);
    const place = new Map(shown.map((code, index) => [code, index]));
    shown.forEach((code, index) => {
      const pair = { color: data.palette[index % data.palette.length], shape: SHAPES[index % SHAPES.length] };
      styles.push(pair);
      entries.push({ name: field.classes[code], code, size: sizes[code], style: pair });
    });
    const others = styles.push({ color: OTHER, shape: "circle", small: true }) - 1;
    for (let row = 0; row < total; row++) {
      let best = -1;
      for (const code of field.codes(row)) {
        const index = place.get(code);
        if (index === undefined) { if (best < 0) style[row] = others; } else if (index > best) best = index;
      }
      if (best >= 0) style[row] = 2 + best;
    }
    const more = codes.length - shown.length;
    if (more > 0) rule = `${count(more, "smaller class", "es")} in gray. `;
    if (field.kind === "terms") rule += "A protein with several terms has the color of the smallest.";
  }
  colored = { field, entries, style, ends, rule };
  showLegend();
  select();
}

function rampColor(share) {
  const place = share * (RAMP.length - 1), index = Math.min(RAMP.length - 2, Math.floor(place));
  const part = (hex, shift) => parseInt(hex.slice(shift, shift + 2), 16);
  const mixed = [1, 3, 5].map((shift) => {
    const low = part(RAMP[index], shift), high = part(RAMP[index + 1], shift);
    return Math.round(low + (high - low) * (place - index));
  });
  return `rgb(${mixed.join(",")})`;
}

/** Work out which proteins are selected, and show it everywhere. */
function select() {
  numSelected = 0;
  const { search, classes, lasso } = selection;
  for (let row = 0; row < total; row++) {
    let yes = (!search || search[row] > 0) && (!lasso || lasso[row] > 0);
    if (yes && classes.size) {
      yes = false;
      for (const code of colored.field.codes(row)) if (classes.has(code)) { yes = true; break; }
    }
    selected[row] = yes;
    numSelected += yes;
  }
  const told = isFiltered() ? `${numSelected.toLocaleString("en")} of ${count(total, "protein")} selected` : count(total, "protein");
  at("count").textContent = told;
  at("clear").hidden = !isFiltered();
  at("export").textContent = isFiltered() ? `Export ${count(numSelected, "protein")} as CSV` : "Export all as CSV";
  at("export").disabled = !numSelected;
  page = 0;
  showTable();
  redraw();
}

function showLegend() {
  const legend = at("legend"), { ends, rule } = colored;
  legend.replaceChildren();
  if (ends) {
    const ramp = make("canvas", { className: "ramp", width: RAMP_STEPS, height: 1 });
    const pen = ramp.getContext("2d");
    for (let step = 0; step < RAMP_STEPS; step++) {
      pen.fillStyle = rampColor(step / (RAMP_STEPS - 1));
      pen.fillRect(step, 0, 1, 1);
    }
    legend.append(ramp, make("div", { className: "ends" }, make("span", {}, number(ends[0])), make("span", {}, number(ends[1]))));
  }
  for (const entry of colored.entries) {
    const swatch = make("canvas", { width: 36, height: 36, "aria-hidden": "true" });
    swatch.style.width = swatch.style.height = "18px";
    drawShape(swatch.getContext("2d"), entry.style, 18, 18, 11, 2);
    legend.append(make("button", { type: "button", "aria-pressed": String(selection.classes.has(entry.code)), title: "Select this class",
      onclick: (event) => {
        const { classes } = selection;
        if (!classes.delete(entry.code)) classes.add(entry.code);
        event.currentTarget.setAttribute("aria-pressed", String(classes.has(entry.code)));
        select();
      } }, swatch, text(entry.name), make("span", { className: "number" }, entry.size.toLocaleString("en"))));
  }
  at("rule").textContent = rule + (named() ? ` In bold: terms of “${named().name}” that are enriched there.` : "");
}

// ---- The map -------------------------------------------------------------------------------------

const stage = at("stage"), points = at("points"), map = at("map"), tip = at("tip");
const pen = points.getContext("2d", { willReadFrequently: true }), over = map.getContext("2d");
const density = () => Math.min(2, window.devicePixelRatio || 1);
const view = { scale: 1, x: 0, y: 0, width: 0, height: 0, whole: 1 };
let waiting = false, lassoPath = null;

const extent = (() => {
  let [left, right, top, bottom] = [Infinity, -Infinity, Infinity, -Infinity];
  for (let row = 0; row < total; row++) {
    const x = places[2 * row], y = places[2 * row + 1];
    if (Number.isNaN(x)) continue;
    left = Math.min(left, x); right = Math.max(right, x); top = Math.min(top, y); bottom = Math.max(bottom, y);
  }
  return left > right ? [0, 0, 0, 0] : [left, right, top, bottom];
})();

const screenX = (row) => places[2 * row] * view.scale + view.x;
const screenY = (row) => view.y - places[2 * row + 1] * view.scale;

function showAll() {
  const [left, right, top, bottom] = extent, margin = 36;
  const wide = (right - left) || 1, high = (bottom - top) || 1;
  view.scale = view.whole = Math.max(1e-9, Math.min((view.width - 2 * margin) / wide, (view.height - 2 * margin) / high));
  view.x = view.width / 2 - view.scale * (left + right) / 2;
  view.y = view.height / 2 + view.scale * (top + bottom) / 2;
  redraw();
}

function zoom(factor, x = view.width / 2, y = view.height / 2) {
  const scale = Math.min(view.whole * 400, Math.max(view.whole * .5, view.scale * factor));
  factor = scale / view.scale;
  view.x = x + (view.x - x) * factor;
  view.y = y + (view.y - y) * factor;
  view.scale = scale;
  redraw();
}

function resize() {
  const box = stage.getBoundingClientRect();
  if (!box.width || (box.width === view.width && box.height === view.height)) return;
  const first = !view.width, whole = view.scale === view.whole;
  view.x += (box.width - view.width) / 2;
  view.y += (box.height - view.height) / 2;
  view.width = box.width;
  view.height = box.height;
  for (const canvas of [points, map]) {
    canvas.width = Math.round(box.width * density());
    canvas.height = Math.round(box.height * density());
  }
  if (first || whole) showAll();
  redraw();
}

const PLUS = [[-.38, -1], [.38, -1], [.38, -.38], [1, -.38], [1, .38], [.38, .38], [.38, 1], [-.38, 1], [-.38, .38], [-1, .38],
  [-1, -.38], [-.38, -.38]];
const CORNERS = { // of shapes of about one size; a circle has none
  square: [[-.88, -.88], [.88, -.88], [.88, .88], [-.88, .88]],
  up: [[0, -1.15], [1.05, .8], [-1.05, .8]],
  down: [[0, 1.15], [1.05, -.8], [-1.05, -.8]],
  diamond: [[0, -1.2], [1.2, 0], [0, 1.2], [-1.2, 0]],
  plus: PLUS.map(([a, b]) => [1.1 * a, 1.1 * b]),
  cross: PLUS.map(([a, b]) => [.78 * (a - b), .78 * (a + b)]),
};
const sized = (style, radius) => style.small ? radius * .75 : radius;

function drawShape(context, style, x, y, radius, line) {
  const r = sized(style, radius), corners = CORNERS[style.shape];
  context.beginPath();
  if (!corners) context.arc(x, y, r, 0, 2 * Math.PI);
  else {
    corners.forEach(([a, b], index) => context[index ? "lineTo" : "moveTo"](x + a * r, y + b * r));
    context.closePath();
  }
  context.fillStyle = tone(style.color);
  context.fill();
  if (line && !style.small) {
    context.lineWidth = line;
    context.strokeStyle = tone(EDGE);
    context.stroke();
  }
}

/** Points are copies of a small picture of each style, made once, written pixel by pixel: drawing tens
 * of thousands of images is slow where there is no GPU. */
let stamps = [], stampsOf = null, cell = 0, pixels = null;

function radiusNow() {
  const usual = Math.min(6.5, Math.max(2.2, 130 / Math.sqrt(total)));
  return Math.round(2 * Math.min(9, usual * Math.pow(view.scale / view.whole, .3))) / 2;
}

function refreshStamps() {
  const radius = radiusNow(), ratio = density(), key = `${radius} ${ratio} ${points.width}`;
  if (stampsOf && stampsOf.key === key && stampsOf.styles === styles) return;
  stampsOf = { key, styles };
  cell = 2 * Math.ceil((1.25 * radius + 1) * ratio);
  const canvas = make("canvas", { width: cell, height: cell });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  stamps = styles.map((style) => {
    context.clearRect(0, 0, cell, cell);
    drawShape(context, style, cell / 2, cell / 2, radius * ratio, Math.min(1, radius / 5) * ratio);
    const { data: drawn } = context.getImageData(0, 0, cell, cell);
    const inside = Array.from({ length: cell * cell }, (_, place) => place).filter((place) => drawn[4 * place + 3]);
    return {
      x: Int32Array.from(inside, (place) => place % cell),
      y: Int32Array.from(inside, (place) => Math.floor(place / cell)),
      alpha: Uint8Array.from(inside, (place) => drawn[4 * place + 3]),
      color: Uint32Array.from(inside, (place) => (drawn[4 * place + 2] << 16 | drawn[4 * place + 1] << 8 | drawn[4 * place] | 0xff000000) >>> 0),
    };
  });
}

function stamp(buffer, width, height, { x, y, alpha, color }, left, top) {
  const cut = left < 0 || top < 0 || left + cell > width || top + cell > height;
  for (let i = 0; i < alpha.length; i++) {
    const across = left + x[i], down = top + y[i];
    if (cut && (across < 0 || down < 0 || across >= width || down >= height)) continue;
    const place = down * width + across, a = alpha[i];
    if (a === 255) { buffer[place] = color[i]; continue; }
    const over = color[i], under = buffer[place], keep = 255 - a;
    const red = ((over & 255) * a + (under & 255) * keep) / 255;
    const green = ((over >>> 8 & 255) * a + (under >>> 8 & 255) * keep) / 255;
    const blue = ((over >>> 16 & 255) * a + (under >>> 16 & 255) * keep) / 255;
    buffer[place] = (0xff000000 | blue << 16 | green << 8 | red) >>> 0;
  }
}

function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; drawPoints(); drawOver(); });
}

/** Draw everything anew in the colors of a dark screen or of a light one. */
function paint() {
  dark = darkScreen.matches;
  stampsOf = null;
  showLegend();
  redraw();
}
darkScreen.addEventListener("change", paint);

function drawPoints() {
  if (!view.width || !colored) return;
  refreshStamps();
  const ratio = density(), half = cell / 2, { style } = colored;
  const scale = view.scale * ratio, dx = view.x * ratio - half, dy = view.y * ratio - half;
  const { width, height } = points;
  if (!pixels || pixels.width !== width || pixels.height !== height) pixels = new ImageData(width, height);
  const buffer = new Uint32Array(pixels.data.buffer), inside = [];
  buffer.fill(background());
  for (let pass = numSelected < total ? 0 : 1; pass < 2; pass++) {
    for (let row = 0; row < total; row++) {
      if (selected[row] !== pass) continue;
      const x = Math.round(places[2 * row] * scale + dx), y = Math.round(dy - places[2 * row + 1] * scale);
      if (!(x > -cell && y > -cell && x < width && y < height)) continue;
      stamp(buffer, width, height, stamps[pass ? style[row] : 0], x, y);
      if (pass && inside.length <= MAX_NAMES) inside.push(row);
    }
  }
  pen.putImageData(pixels, 0, 0);
  const regions = regionNames();
  if (inside.length <= MAX_NAMES) drawNames(pen, placed(inside, boxes(regions)));
  drawNames(pen, regions, REGION_FONT);
}

/** Names of regions, in two lines at most, the surest first, where they do not cover each other: those of
 * the standard that colors the points, or else of the first that has some. */
const named = () => at("region-names").getAttribute("aria-pressed") === "true" ? naming.includes(colored.field) ? colored.field : naming[0] : undefined;
function regionNames() {
  const taken = boxes(placed(marked())), found = []; // the chosen protein goes before
  over.font = REGION_FONT;
  for (const region of named()?.regions || []) {
    region.lines ||= lines(region.term);
    region.width ||= Math.max(...region.lines.map((line) => over.measureText(line).width));
    const middle = region.place[0] * view.scale + view.x, y = view.y - region.place[1] * view.scale;
    if (middle < 0 || middle > view.width || y < 0 || y > view.height) continue;
    const high = 8 * region.lines.length, edge = region.width / 2 + 6;
    const x = Math.max(edge, Math.min(view.width - edge, middle)); // not beyond the edges
    const box = [x - region.width / 2 - 3, y - high, x + region.width / 2 + 3, y + high];
    if (taken.some((other) => overlap(box, other))) continue;
    taken.push(box);
    region.lines.forEach((name, index) => found.push({ name, x: x - over.measureText(name).width / 2, y: y - high + 8 + 16 * index, box }));
  }
  return found;
}
const boxes = (names) => names.map(({ box }) => box);
const overlap = (one, other) => one[0] < other[2] && other[0] < one[2] && one[1] < other[3] && other[1] < one[3];

/** A name in one line, or in two that are about as long. */
function lines(name) {
  const words = name.split(/\s+/), half = name.length / 2;
  if (name.length <= 22 || words.length === 1) return [shortened(name)];
  let cut = 1;
  while (cut < words.length - 1 && words.slice(0, cut + 1).join(" ").length <= half + 3) cut++;
  return [words.slice(0, cut), words.slice(cut)].map((part) => shortened(part.join(" ")));
}

/** Names beside their points, on the left where the right has no room, that do not cover each other. */
function placed(rows, avoid = []) {
  const taken = avoid.slice(), found = [], gap = 1.25 * radiusNow() + 6;
  over.font = FONT;
  for (const row of rows) {
    const name = shortened(data.proteins[row]), y = screenY(row), width = over.measureText(name).width;
    const right = screenX(row) + gap, x = right + width > view.width && right > width + 2 * gap ? right - width - 2 * gap : right;
    const box = [x, y - 7, x + width, y + 7];
    if (taken.some((other) => overlap(box, other))) continue;
    taken.push(box);
    found.push({ name, x, y, box });
  }
  return found;
}

function drawNames(context, names, font = FONT) {
  const ratio = density();
  context.save();
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.font = font;
  context.textBaseline = "middle";
  context.textAlign = "left";
  context.lineJoin = "round";
  context.lineWidth = 3;
  context.strokeStyle = tone(HALO);
  context.fillStyle = tone(INK);
  for (const { name, x, y } of names) {
    context.strokeText(name, x, y);
    context.fillText(name, x, y);
  }
  context.restore();
}
const shortened = (name) => { const letters = Array.from(name); return letters.length > 28 ? letters.slice(0, 27).join("") + "…" : name; };

function drawOver() {
  const ratio = density();
  over.setTransform(ratio, 0, 0, ratio, 0, 0);
  over.clearRect(0, 0, view.width, view.height);
  const ring = (row, color, width) => {
    over.beginPath();
    over.arc(screenX(row), screenY(row), radiusNow() * 1.25 + 3, 0, 2 * Math.PI);
    over.lineWidth = width;
    over.strokeStyle = color;
    over.stroke();
  };
  if (chosen >= 0 && hasPlace(chosen)) {
    const near = neighborsOf(chosen);
    over.strokeStyle = tone(ACCENT);
    over.globalAlpha = .45;
    over.lineWidth = 1;
    for (const { row } of near) {
      over.beginPath();
      over.moveTo(screenX(chosen), screenY(chosen));
      over.lineTo(screenX(row), screenY(row));
      over.stroke();
    }
    over.globalAlpha = 1;
    for (const { row } of near) ring(row, tone(ACCENT), 1.5);
    ring(chosen, tone(HALO), 5);
    ring(chosen, tone(INK), 2.5);
    if (beside >= 0 && hasPlace(beside)) {
      ring(beside, tone(HALO), 5);
      ring(beside, tone(ACCENT), 3.5);
    }
    drawNames(over, placed(marked()));
  }
  if (hovered >= 0) ring(hovered, tone(INK), 2);
  if (lassoPath) {
    over.beginPath();
    lassoPath.forEach(([x, y], index) => over[index ? "lineTo" : "moveTo"](x, y));
    over.closePath();
    over.fillStyle = tone(ACCENT);
    over.globalAlpha = .1;
    over.fill();
    over.globalAlpha = 1;
    over.setLineDash([5, 4]);
    over.lineWidth = 1.5;
    over.strokeStyle = tone(ACCENT);
    over.stroke();
    over.setLineDash([]);
  }
}

/** Rows of the chosen protein, of the one beside it and of its neighbors: their names are on the map. */
function marked() {
  if (chosen < 0 || !hasPlace(chosen)) return [];
  const near = neighborsOf(chosen).map(({ row }) => row);
  return [...new Set([chosen, ...(beside >= 0 && hasPlace(beside) ? [beside] : []), ...near])];
}

const hasPlace = (row) => !Number.isNaN(places[2 * row]);

/** The nearest point within reach, one that is selected if there is one; -1 for none. */
function under(x, y) {
  let best = -1, least = Math.pow(Math.max(8, radiusNow() + 4), 2);
  for (let pass = 1; pass >= 0 && best < 0; pass--) {
    for (let row = 0; row < total; row++) {
      if (selected[row] !== pass) continue;
      const dx = screenX(row) - x, dy = screenY(row) - y, distance = dx * dx + dy * dy;
      if (distance < least) { least = distance; best = row; }
    }
  }
  return best;
}

// ---- The map as SVG, for files and paper ---------------------------------------------------------

const SVG = "http://www.w3.org/2000/svg";
const LEGEND_WIDTH = 250, LEGEND_LINE = 20;

/** What is seen as an element of SVG, in the colors of a light screen, with its legend on the right. */
function vectors() {
  const file = document.implementation.createDocument(SVG, "svg");
  const draw = (parent, tag, attributes, content) => {
    const element = parent.appendChild(file.createElementNS(SVG, tag));
    for (const [name, value] of Object.entries(attributes)) {
      element.setAttribute(name, typeof value === "number" ? Number(value.toFixed(2)) : value);
    }
    // XML has no way to write some characters.
    if (content) element.textContent = content.replace(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, "\ufffd");
    return element;
  };
  const shape = (parent, style, x, y, radius, title) => {
    const r = sized(style, radius), corners = CORNERS[style.shape];
    const line = style.small ? {} : { stroke: INK, "stroke-opacity": .75, "stroke-width": Math.min(1, radius / 5) };
    const element = corners
      ? draw(parent, "polygon", { fill: style.color, ...line, points: corners.map(([a, b]) => `${(x + a * r).toFixed(2)},${(y + b * r).toFixed(2)}`).join(" ") })
      : draw(parent, "circle", { fill: style.color, ...line, cx: x, cy: y, r });
    if (title) draw(element, "title", {}, title);
  };
  const { field, entries, ends } = colored, legend = entries.length || ends;
  const lines = (field ? 2 : 0) + (ends ? 2 : entries.length);
  const width = view.width + (legend ? LEGEND_WIDTH : 0), height = Math.max(view.height, legend ? (lines + 2) * LEGEND_LINE : 0);
  const root = file.documentElement;
  for (const [name, value] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}`, "font-size": 12,
    "font-family": "system-ui, 'Segoe UI', Helvetica, Arial, sans-serif" })) root.setAttribute(name, value);
  draw(root, "title", {}, data.title);
  draw(root, "rect", { width, height, fill: "#ffffff" });
  const plane = draw(root, "svg", { width: view.width, height: view.height }); // cuts off what is outside
  const radius = radiusNow(), all = draw(plane, "g", { id: "proteins" }), inside = [];
  for (let pass = 0; pass < 2; pass++) {
    for (let row = 0; row < total; row++) {
      const x = screenX(row), y = screenY(row);
      if (selected[row] !== pass || !(x > -radius && y > -radius && x < view.width + radius && y < view.height + radius)) continue;
      shape(all, styles[pass ? colored.style[row] : 0], x, y, radius, data.proteins[row]);
      if (pass) inside.push(row);
    }
  }
  const write = (parent, x, y, content, more = {}) => draw(parent, "text", { x, y: y + 4, fill: INK, ...more }, content);
  const halo = { stroke: HALO, "stroke-width": 3, "stroke-linejoin": "round", "paint-order": "stroke" };
  const rings = draw(plane, "g", { id: "chosen", fill: "none", stroke: ACCENT });
  if (chosen >= 0 && hasPlace(chosen)) {
    const ring = (row, more) => draw(rings, "circle", { cx: screenX(row), cy: screenY(row), r: radius * 1.25 + 3, ...more });
    for (const { row } of neighborsOf(chosen)) {
      draw(rings, "line", { x1: screenX(chosen), y1: screenY(chosen), x2: screenX(row), y2: screenY(row), "stroke-opacity": .45 });
      ring(row, { "stroke-width": 1.5 });
    }
    ring(chosen, { stroke: INK, "stroke-width": 2.5 });
    if (beside >= 0 && hasPlace(beside)) ring(beside, { "stroke-width": 3.5 });
  }
  const texts = draw(plane, "g", { id: "names" });
  const near = marked(), first = placed(near), regions = regionNames();
  const others = inside.length <= MAX_NAMES ? placed(inside.filter((row) => !near.includes(row)), boxes([...regions, ...first])) : [];
  for (const { name, x, y } of [...first, ...others]) write(texts, x, y, name, halo);
  const bold = draw(plane, "g", { id: "regions", "font-weight": "bold", "font-size": 13 });
  for (const { name, x, y } of regions) write(bold, x, y, name, halo);
  if (!legend) return root;
  const list = draw(root, "g", { id: "legend" }), left = view.width + 12;
  write(list, left, LEGEND_LINE, shortened(field.name), { "font-weight": "bold" });
  if (ends) {
    const step = (LEGEND_WIDTH - 24) / RAMP_STEPS;
    for (let i = 0; i < RAMP_STEPS; i++) {
      draw(list, "rect", { x: left + i * step, y: 1.6 * LEGEND_LINE, width: step + .5, height: 14, fill: rampColor(i / (RAMP_STEPS - 1)) });
    }
    write(list, left, 2.8 * LEGEND_LINE, number(ends[0]));
    write(list, left + LEGEND_WIDTH - 24, 2.8 * LEGEND_LINE, number(ends[1]), { "text-anchor": "end" });
  }
  entries.forEach(({ name, size, style }, index) => {
    const y = (index + 2) * LEGEND_LINE;
    shape(list, style, left + 8, y, 5.5);
    write(list, left + 24, y, `${shortened(name)} (${size.toLocaleString("en")})`);
  });
  return root;
}

/** Paper has the map as shapes; browsers do not print pixels that were written one by one. */
window.addEventListener("beforeprint", () => { hover(-1); stage.append(vectors()); });
window.addEventListener("afterprint", () => stage.querySelector("svg")?.remove());

// ---- Pointer and keys ----------------------------------------------------------------------------

const pointers = new Map();
let moved = 0, spread = 0, drawing = false;

const local = (event) => { const box = map.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
const apart = () => { const [a, b] = [...pointers.values()]; return Math.hypot(a[0] - b[0], a[1] - b[1]); };

map.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  map.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, local(event));
  moved = 0;
  if (pointers.size === 2) { spread = apart(); lassoPath = null; }
  else if (drawing || event.shiftKey) lassoPath = [local(event)];
  hover(-1);
});
map.addEventListener("pointermove", (event) => {
  const now = local(event), before = pointers.get(event.pointerId);
  if (!before) { if (event.pointerType !== "touch") hover(under(...now), now); return; }
  pointers.set(event.pointerId, now);
  moved += Math.abs(now[0] - before[0]) + Math.abs(now[1] - before[1]);
  if (pointers.size === 2) {
    const [a, b] = [...pointers.values()], wider = apart();
    view.x += (now[0] - before[0]) / 2;
    view.y += (now[1] - before[1]) / 2;
    if (spread) zoom(wider / spread, (a[0] + b[0]) / 2, (a[1] + b[1]) / 2);
    spread = wider;
  } else if (lassoPath) {
    lassoPath.push(now);
    redraw();
  } else {
    map.classList.add("moving");
    view.x += now[0] - before[0];
    view.y += now[1] - before[1];
    redraw();
  }
});
function released(event) {
  if (!pointers.delete(event.pointerId)) return;
  map.classList.remove("moving");
  if (lassoPath) {
    if (moved > 10) { selection.lasso = within(lassoPath); setDrawing(false); select(); }
    else if (event.type === "pointerup" && event.shiftKey) press(under(...local(event)), event);
    lassoPath = null;
    redraw();
  } else if (event.type === "pointerup" && moved < 5 && !pointers.size) {
    const row = under(...local(event));
    if (row >= 0 || !picking) choose(row);
  }
}
map.addEventListener("pointerup", released);
map.addEventListener("pointercancel", released);
map.addEventListener("pointerleave", () => hover(-1));
map.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(Math.exp(-event.deltaY * (event.deltaMode ? .05 : .0018)), ...local(event));
}, { passive: false });
map.addEventListener("dblclick", (event) => zoom(2, ...local(event)));
map.addEventListener("keydown", (event) => {
  const step = 60;
  const keys = {
    ArrowLeft: () => { view.x += step; }, ArrowRight: () => { view.x -= step; },
    ArrowUp: () => { view.y += step; }, ArrowDown: () => { view.y -= step; },
    "+": () => zoom(1.4), "=": () => zoom(1.4), "-": () => zoom(1 / 1.4), 0: showAll, Escape: () => picking ? pick(false) : choose(-1),
  };
  if (!keys[event.key] || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  keys[event.key]();
  redraw();
});

/** Which proteins lie inside a drawn line: a ray to the right crosses it an odd number of times. */
function within(path) {
  const inside = new Uint8Array(total);
  for (let row = 0; row < total; row++) {
    const x = screenX(row), y = screenY(row);
    let odd = 0;
    for (let i = 0, j = path.length - 1; i < path.length; j = i++) {
      const [ax, ay] = path[i], [bx, by] = path[j];
      if ((ay > y) !== (by > y) && x < (bx - ax) * (y - ay) / (by - ay) + ax) odd ^= 1;
    }
    inside[row] = odd;
  }
  return inside;
}

function setDrawing(value) {
  drawing = value;
  map.classList.toggle("drawing", value);
  at("lasso").setAttribute("aria-pressed", String(value));
}

function hover(row, [x, y] = [0, 0]) {
  if (row === hovered && row < 0) return;
  const changed = row !== hovered;
  hovered = row;
  map.classList.toggle("over", row >= 0);
  tip.hidden = row < 0;
  if (row < 0) { redrawOver(); return; }
  if (changed) {
    tip.replaceChildren(make("strong", {}, text(data.proteins[row])));
    const field = colored.field, shown = field && field.show(row);
    if (field) tip.append(make("span", { className: "soft" }, text(shown ? shortenedText(shown) : `no ${field.name}`)));
    if (crops(row).length) tip.append(pictures(row, 4));
    redrawOver();
  }
  const left = x + 18 + tip.offsetWidth > view.width ? x - 18 - tip.offsetWidth : x + 18;
  const top = Math.min(Math.max(6, y - 20), view.height - tip.offsetHeight - 6);
  tip.style.transform = `translate(${Math.max(4, Math.round(left))}px, ${Math.round(top)}px)`;
}
const redrawOver = () => requestAnimationFrame(drawOver);
const shortenedText = (value) => value.length > 160 ? value.slice(0, 159) + "…" : value;

// ---- One protein ---------------------------------------------------------------------------------

function neighborsOf(row) {
  const found = [];
  for (let place = row * neighbors.count; place < (row + 1) * neighbors.count; place++) {
    if (neighbors.rows[place] >= 0) found.push({ row: neighbors.rows[place], similarity: neighbors.similarities[place] });
  }
  return found;
}

function sharedTerms(one, other) {
  const found = [];
  for (const field of standards) {
    const mine = new Set(field.codes(one));
    for (const code of field.codes(other)) if (mine.has(code)) found.push(field.classes[code]);
  }
  return found;
}

/** Exact where one is a neighbor of the other; else from the sketch of their profiles, with its error. */
function similarity(one, other) {
  if (!hasPlace(one) || !hasPlace(other)) return "One of these profiles is not finite or zero everywhere: there is no similarity.";
  const told = [];
  let exact = null;
  for (const [from, to] of [[one, other], [other, one]]) {
    const near = neighborsOf(from), place = near.findIndex(({ row }) => row === to);
    if (place < 0) continue;
    exact = near[place].similarity;
    told.push(` ${data.proteins[to]} is neighbor ${place + 1} of ${data.proteins[from]}.`);
  }
  if (exact !== null) return `Cosine similarity ${exact.toFixed(3)}.${told.join("")}`;
  let sum = 0;
  for (let i = 0; i < sketch.size; i++) sum += sketch.codes[one * sketch.size + i] * sketch.codes[other * sketch.size + i] * sketch.scales[i] ** 2;
  return `Cosine similarity ${Math.max(-1, Math.min(1, sum)).toFixed(2)}, within ${Math.max(sketch.error, .005).toPrecision(1)} for 99 % of pairs${neighbors.count ? "; neither is a near neighbor of the other" : ""}.`;
}

const picture = (row, index) => make("img", { src: `data:image/webp;base64,${crops(row)[index]}`, alt: `Cell ${index + 1} of ${data.proteins[row]}` });
function pictures(row, most) {
  const shown = crops(row).slice(0, most);
  return make("div", { className: shown.length > 4 ? "crops many" : "crops" }, ...shown.map((_, index) => picture(row, index)));
}

/** Go to a protein, or to two side by side, by way of the address: links and the Back button work. */
function choose(row, second = -1) {
  if (picking && row >= 0 && row !== chosen) [row, second] = [chosen, row];
  const hash = [row, second].filter((one) => one >= 0).map((one) => encodeURIComponent(data.proteins[one])).join("&");
  if (location.hash.slice(1) !== hash) location.hash = hash;
  else if (row !== chosen || second !== beside) show(row, second);
}

/** Go to a protein that was clicked; with Shift, put it beside the chosen one. */
const press = (row, event) => event.shiftKey && chosen >= 0 && row >= 0 && row !== chosen ? choose(chosen, row) : choose(row);

window.addEventListener("hashchange", fromAddress);
function fromAddress() {
  const parts = location.hash.slice(1).split("&").map(decoded), pair = parts.map(rowOf);
  if (pair.length === 2 && pair.every((row) => row >= 0)) { show(pair[0], pair[0] === pair[1] ? -1 : pair[1]); return; }
  const name = parts.join("&"), row = name ? rowOf(name) : -1;
  show(row);
  if (name && row < 0) at("details").prepend(make("p", { className: "notes" }, "No protein is called ", text(name), "."));
}
function decoded(part) {
  try { return decodeURIComponent(part); } catch { return part; } // a lone % stands for itself
}
function rowOf(name) {
  const form = folded(name), exact = data.proteins.indexOf(name), row = exact < 0 ? names.indexOf(form) : exact;
  return row < 0 ? names.findIndex((_, index) => aliases(index).some((alias) => folded(alias) === form)) : row;
}

const protein = (row) => make("button", { type: "button", className: "plain", onclick: (event) => press(row, event) }, text(data.proteins[row]));

/** Wait for a second protein to be clicked, or no longer. */
function pick(value) {
  picking = value;
  const button = at("compare");
  if (!button) return;
  button.setAttribute("aria-pressed", String(value));
  at("hint").textContent = value ? "Click a second protein: a point, a result of the search or a name." : "";
  if (value) stage.scrollIntoView({ block: "nearest" });
}

function show(row, second = -1) {
  [chosen, beside, picking] = [row, second, false];
  const details = at("details");
  details.replaceChildren(...(row < 0 ? overview() : second < 0 ? description(row) : comparison(row, second)));
  details.scrollTop = 0;
  if (row >= 0 && hasPlace(row)) {
    const x = screenX(row), y = screenY(row), margin = 40;
    if (view.width && !(x > margin && y > margin && x < view.width - margin && y < view.height - margin)) {
      view.x += view.width / 2 - x;
      view.y += view.height / 2 - y;
    }
  }
  for (const line of document.querySelectorAll("tbody tr")) line.classList.toggle("chosen", isShown(Number(line.dataset.row)));
  redraw();
}

const isShown = (row) => row === chosen || row === beside;

function overview() {
  const parts = [make("h2", {}, "Choose a protein"),
    make("p", { className: "soft" }, "Click a point, a result of the search or a name in the table. Drag the map to move it, scroll to zoom, and hold Shift and draw to select proteins. Click a second one with Shift to compare it.")];
  if (data.notes.length) parts.push(make("ul", { className: "notes" }, ...data.notes.map((note) => make("li", {}, text(note)))));
  for (const field of standards) {
    parts.push(make("h3", {}, "Regions by ", text(field.name)), field.regions.length
      ? make("details", {}, make("summary", {}, count(field.regions.length, "named region")), make("ul", { className: "terms" }, ...field.regions.map((region) => make("li", {}, text(region.term), make("span", { className: "soft" },
        ` ${region.members} of ${count(region.proteins, "protein")} there, ${region.members_on_map} on the map, p ${region.p_value.toPrecision(2)}`)))))
      : make("p", { className: "soft" }, "No region has more proteins of a term than by chance."));
  }
  if (standards.length) parts.push(make("p", { className: "soft" }, "Regions are clusters of places (k-means, at most 40, of 15 proteins or more on average). Each is tested "
    + "against each term by the hypergeometric distribution, among proteins that have a term; p-values are adjusted together (Benjamini and Hochberg, 5 %). The best "
    + "term of 3 or more proteins there names a region, at the median of its places. Not all proteins of a region have its term."));
  parts.push(make("h3", {}, "About this map"), terms([["proteins", total.toLocaleString("en")], ["placed by", data.projection],
    ...(data.source ? [["profiles", data.source]] : []), ...data.about]));
  return parts;
}
const terms = (lines) => make("dl", { className: lines[0].length > 2 ? "two" : "" }, ...lines.flatMap(([name, ...values]) =>
  [make("dt", {}, text(name)), ...values.map((value) => make("dd", {}, text(value)))]));

/** Other names and cells of a protein. */
function cells(row, most) {
  const also = aliases(row).length ? [make("p", { className: "soft" }, "also ", text(aliases(row).join(", ")))] : [];
  if (crops(row).length) return [...also, pictures(row, most)];
  return data.crops ? [...also, make("p", { className: "soft" }, "No cells of this protein are on this page.")] : also;
}

/** What the colors of cells mean, and how bright they are. */
function key(rows) {
  if (!rows.some((row) => crops(row).length)) return [];
  const kinds = data.crops.channels.length > 1 ? ["green", "magenta"] : ["gray"];
  const slider = make("input", { type: "range", id: "brightness", min: 1, max: 8, step: .25,
    value: getComputedStyle(document.documentElement).getPropertyValue("--brightness").trim(),
    oninput: (event) => document.documentElement.style.setProperty("--brightness", event.target.value) });
  return [make("p", { className: "soft channels" },
    ...data.crops.channels.map((name, index) => make("span", {}, make("i", { className: kinds[index] }), text(name)))),
  make("div", { className: "bright soft" }, make("label", { htmlFor: "brightness" }, "Brightness"), slider)];
}

/** Two proteins side by side: cells, similarity, values, and terms with those of both first. */
function comparison(one, two) {
  const both = [one, two], sides = (content) => make("div", { className: "pair" }, ...both.map((row) => make("div", {}, ...content(row))));
  const parts = [make("div", { className: "head" }, make("h2", {}, text(data.proteins[one]), " and ", text(data.proteins[two])),
    make("button", { type: "button", "aria-label": "Close the comparison", title: "Close the comparison", onclick: () => choose(one) }, "×")),
  make("p", { id: "similarity" }, text(similarity(one, two))),
  sides((row) => [protein(row), ...cells(row, 100)]), ...key(both)];
  const values = fields.filter((field) => field.kind !== "terms" && both.some((row) => field.show(row) !== ""));
  if (values.length) parts.push(make("h3", {}, "Values"), terms([["protein", ...both.map((row) => data.proteins[row])],
    ...values.map((field) => [field.name, ...both.map((row) => field.show(row) || "–")])]));
  for (const field of standards) {
    const [first, second] = both.map((row) => new Set(field.codes(row)));
    const common = [...first].filter((code) => second.has(code));
    parts.push(make("h3", {}, text(field.name)), make("p", { className: "soft" }, common.length ? `${count(common.length, "term")} of both, in bold` : "no term of both"),
      sides((row) => {
        const own = [...common, ...Array.from(field.codes(row)).filter((code) => !common.includes(code))];
        return own.length ? [make("ul", { className: "terms" }, ...own.map((code) => make("li", {},
          common.includes(code) ? make("strong", {}, text(field.classes[code])) : text(field.classes[code]))))] : [make("p", { className: "soft" }, "no term")];
      }));
  }
  return parts;
}

function description(row) {
  const parts = [make("div", { className: "head" }, make("h2", {}, text(data.proteins[row])),
    make("div", {}, make("button", { type: "button", id: "compare", "aria-pressed": "false", title: "Put a second protein beside this one",
      onclick: () => pick(!picking) }, "Compare"), " ",
    make("button", { type: "button", "aria-label": "Close", title: "Close", onclick: () => choose(-1) }, "×"))),
  make("p", { id: "hint", role: "status", className: "soft" }), ...cells(row, 100), ...key([row])];
  const values = fields.filter((field) => field.kind !== "terms" && field.show(row) !== "").map((field) => [field.name, field.show(row)]);
  if (values.length) parts.push(make("h3", {}, "Values"), terms(values));
  const near = neighborsOf(row);
  if (near.length) {
    parts.push(make("h3", {}, "Nearest neighbors"), make("ol", { className: "list near" }, ...near.map(({ row: other, similarity }) => {
      const shared = sharedTerms(row, other), images = crops(other).length ? [picture(other, 0)] : [];
      return make("li", { className: images.length ? "" : "bare" }, ...images, protein(other),
        make("span", { className: "similarity", title: "cosine similarity" }, similarity.toFixed(3)),
        make("span", { className: "soft" }, ...(shared.length ? ["shares ", text(shortenedText(shared.join("; ")))] : [])));
    })));
  } else if (!hasPlace(row)) parts.push(make("p", { className: "soft" }, "This profile is not finite or zero everywhere: it has no place on the map and no neighbors."));
  for (const field of standards) {
    const own = Array.from(field.codes(row), (code) => field.classes[code]);
    parts.push(make("h3", {}, text(field.name)), own.length ? make("ul", { className: "terms" }, ...own.map((term) => make("li", {}, text(term))))
      : make("p", { className: "soft" }, "no term"));
  }
  return parts;
}

// ---- Search --------------------------------------------------------------------------------------

const names = data.proteins.map(folded);
const foldedAliases = new Map(Object.entries(data.aliases).map(([row, list]) => [Number(row), list.map(folded)]));
const groups = fields.filter((field) => field.kind !== "numbers").map((field) => ({ field, classes: field.classes.map(folded) }));

/** How well each protein fits a query: 5 its name, 4 and 3 a part of it, 2 an alias, 1 a term; 0 not. */
function matches(query) {
  const fit = new Uint8Array(total), hits = [];
  for (let row = 0; row < total; row++) {
    const place = names[row].indexOf(query);
    if (place >= 0) fit[row] = names[row] === query ? 5 : place ? 3 : 4;
  }
  for (const [row, list] of foldedAliases) if (!fit[row] && list.some((alias) => alias.includes(query))) fit[row] = 2;
  for (const { field, classes } of groups) {
    const found = new Uint8Array(classes.length);
    let any = false;
    classes.forEach((name, code) => { if (name.includes(query)) { found[code] = 1; any = true; hits.push({ field, code }); } });
    if (!any) continue;
    for (let row = 0; row < total; row++) {
      if (!fit[row]) for (const code of field.codes(row)) if (found[code]) { fit[row] = 1; break; }
    }
  }
  return { fit, hits };
}

/** A list of names, divided by commas, semicolons or lines: exact names and aliases. */
function listed(query) {
  const wanted = new Set(query.split(/[,;\n\t]+/).map(folded).filter(Boolean)), found = new Set();
  const fit = new Uint8Array(total);
  for (let row = 0; row < total; row++) {
    for (const name of [names[row], ...(foldedAliases.get(row) || [])]) if (wanted.has(name)) { fit[row] = 5; found.add(name); }
  }
  return { fit, missing: [...wanted].filter((name) => !found.has(name)) };
}

function search() {
  const query = folded(at("search").value), results = at("results");
  results.replaceChildren();
  if (!query) { selection.search = null; select(); return; }
  let { fit, hits } = matches(query), missing = [];
  if (!fit.some(Boolean) && /[,;]/.test(query)) { ({ fit, missing } = listed(query)); hits = []; }
  selection.search = fit;
  select();
  const best = [];
  for (let level = 5; level > 0 && best.length < MAX_RESULTS; level--) {
    for (let row = 0; row < total && best.length < MAX_RESULTS; row++) if (fit[row] === level) best.push(row);
  }
  const all = fit.reduce((sum, level) => sum + (level > 0), 0);
  const told = all ? count(all, "protein") + (all > best.length ? `, the first ${best.length} below` : "") : "Nothing found";
  results.append(make("small", {}, told + (missing.length ? `; not found: ${missing.slice(0, 20).join(", ")}` : "")));
  if (!best.length) return;
  results.append(make("ul", {}, ...best.map((row) => make("li", {}, make("button", { type: "button", onclick: (event) => press(row, event) },
    text(data.proteins[row]), " ", make("small", {}, text(why(row, fit[row], query, hits))))))));
}

/** What of a protein was found, if not its name. */
function why(row, level, query, hits) {
  if (level === 2) return foldedAliases.get(row).find((alias) => alias.includes(query)) ? aliases(row).find((alias) => folded(alias).includes(query)) : "";
  if (level !== 1) return "";
  for (const { field, code } of hits) for (const own of field.codes(row)) if (own === code) return field.classes[code];
  return "";
}

// ---- Table and export ----------------------------------------------------------------------------

let page = 0, sorted = { field: null, down: false }, order = Int32Array.from({ length: total }, (_, row) => row);

function showHead() {
  const head = (name, field) => make("th", { scope: "col", className: field && field.kind === "numbers" ? "number" : "",
    "aria-sort": sorted.field === field ? (sorted.down ? "descending" : "ascending") : "none" },
  make("button", { type: "button", onclick: () => sortBy(field) }, text(name), sorted.field === field ? (sorted.down ? " ↓" : " ↑") : ""));
  document.querySelector("thead").replaceChildren(make("tr", {}, head("Protein", "protein"), ...fields.map((field) => head(field.name, field))));
}

function sortBy(field) {
  sorted = { field, down: sorted.field === field && !sorted.down };
  const sign = sorted.down ? -1 : 1;
  if (field.kind === "numbers") {
    const key = (row) => Number.isNaN(field.values[row]) ? sign * Infinity : field.values[row];
    order.sort((a, b) => { const x = key(a), y = key(b); return x === y ? a - b : x < y ? -sign : sign; });
  } else {
    const keys = Array.from({ length: total }, (_, row) => field === "protein" ? data.proteins[row] : field.show(row));
    order.sort((a, b) => (!keys[a] - !keys[b]) || sign * COLLATOR.compare(keys[a], keys[b]) || a - b);
  }
  page = 0;
  showHead();
  showTable();
}

function showTable() {
  const last = Math.max(0, Math.ceil(numSelected / ROWS) - 1);
  page = Math.min(page, last);
  const rows = [];
  let skipped = page * ROWS;
  for (let place = 0; place < total && rows.length < ROWS; place++) {
    if (selected[order[place]] && skipped-- <= 0) rows.push(order[place]);
  }
  document.querySelector("tbody").replaceChildren(...rows.map((row) => {
    const line = make("tr", { className: isShown(row) ? "chosen" : "" }, make("th", { scope: "row" }, protein(row)),
      ...fields.map((field) => make("td", { className: field.kind === "numbers" ? "number" : "" }, text(field.show(row)))));
    line.dataset.row = row;
    return line;
  }));
  at("page").textContent = numSelected ? `Page ${(page + 1).toLocaleString("en")} of ${(last + 1).toLocaleString("en")}` : "No protein is selected";
  at("previous").disabled = page === 0;
  at("next").disabled = page >= last;
  at("pages").hidden = last === 0 && numSelected > 0;
}

function csv() {
  const lines = [["protein", "x", "y", ...fields.map((field) => field.name)]];
  for (let row = 0; row < total; row++) {
    if (!selected[row]) continue;
    const place = hasPlace(row) ? [number(places[2 * row]), number(places[2 * row + 1])] : ["", ""];
    lines.push([data.proteins[row], ...place, ...fields.map((field) => field.csv(row))]);
  }
  return lines.map((line) => line.map(quoted).join(",") + "\r\n").join("");
}

// ---- Start ---------------------------------------------------------------------------------------

const subtitle = [count(total, "protein"), `placed by ${data.projection}`];
if (data.source) subtitle.push(data.source);
at("subtitle").replaceChildren(...subtitle.flatMap((part, index) => index ? [" · ", text(part)] : [text(part)]));
at("written").textContent = `Written by deeploc-tf ${data.version}. Near points have similar profiles; distances between far points mean little, and the axes nothing. Nothing on this page is loaded from a network.`;

const color = at("color");
color.append(make("option", { value: "" }, "one color"), ...fields.map((field, index) => make("option", { value: index }, field.name)));
const distinct = (field) => field.classes.length > 1 && field.classes.length <= MAX_CLASSES;
const first = fields.find((field) => field.kind === "classes" && distinct(field)) || standards[0] || fields.find((field) => field.kind === "numbers");
color.value = first ? fields.indexOf(first) : "";
color.addEventListener("change", () => colorBy(fields[color.value]));
at("search").addEventListener("input", search);
at("search").addEventListener("paste", (event) => { // an input would join the lines of a list
  const pasted = event.clipboardData.getData("text");
  if (!/[\n\t]/.test(pasted.trim())) return;
  event.preventDefault();
  event.target.setRangeText(pasted.trim().split(/[\n\r\t]+/).join(", "), event.target.selectionStart, event.target.selectionEnd, "end");
  search();
});
at("search").addEventListener("keydown", (event) => {
  const button = document.querySelector("#results button");
  if (event.key === "Enter" && button) button.click();
});
at("clear").addEventListener("click", () => {
  selection.search = selection.lasso = null;
  at("search").value = "";
  at("results").replaceChildren();
  selection.classes.clear();
  for (const button of document.querySelectorAll("#legend button")) button.setAttribute("aria-pressed", "false");
  select();
});
at("export").addEventListener("click", () => save(csv(), "text/csv", "proteins.csv"));
const svg = () => new XMLSerializer().serializeToString(vectors());
at("picture").addEventListener("click", () => save(svg(), "image/svg+xml", "map.svg"));
at("region-names").hidden = !naming.length;
at("region-names").addEventListener("click", () => {
  at("region-names").setAttribute("aria-pressed", String(!named()));
  showLegend();
  redraw();
});
at("in").addEventListener("click", () => zoom(1.6));
at("out").addEventListener("click", () => zoom(1 / 1.6));
at("fit").addEventListener("click", showAll);
at("lasso").addEventListener("click", () => setDrawing(!drawing));
at("previous").addEventListener("click", () => { page--; showTable(); });
at("next").addEventListener("click", () => { page++; showTable(); });
at("skip").addEventListener("click", () => { at("scroll").scrollIntoView(); at("scroll").focus(); });
new ResizeObserver(resize).observe(stage);

showHead();
resize();
colorBy(first);
fromAddress();

/** For scripts and tests: where a protein is drawn, in pixels of the window; and the picture. */
window.proteinMap = {
  svg,
  place(name) {
    const row = data.proteins.indexOf(name), box = map.getBoundingClientRect();
    return [box.left + screenX(row), box.top + screenY(row)];
  },
};
