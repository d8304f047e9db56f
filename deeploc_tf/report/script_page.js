// What pages with a script share. No network, no libraries; elements are built, and HTML is never parsed, so
// that no text of the data can become markup.
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const count = (value, noun, ending = "s") => `${value.toLocaleString("en")} ${noun}${value === 1 ? "" : ending}`;
// A value of a CSV file, as RFC 4180 has it; what spreadsheet programs would calculate has an apostrophe before
// it, see `deeploc_tf.text_tables`.
const formula = /^'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/, noFormula = /^(?:[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|[+-]+)$/i;
const escaped = (value) => formula.test(value) && !noFormula.test(value) ? `'${value}` : value;
const unescaped = (value) => value[0] === "'" && formula.test(value.slice(1)) ? value.slice(1) : value;
const quoted = (value) => /[",\r\n]|^\s|\s$/.test(escaped(value)) ? `"${escaped(value).replaceAll('"', '""')}"` : escaped(value);

/** An element with properties and children; texts stay texts, in the direction of their own script. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}
const text = (value) => make("bdi", {}, value);

function save(content, type, name) {
  const address = URL.createObjectURL(new Blob([content], { type: `${type};charset=utf-8` }));
  make("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
}
