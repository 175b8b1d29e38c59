// Which values of a provider's item stand in the event that was made of it, and which do not.

const TIME = /^\d{4}-\d{2}-\d{2}T/;
const INDENT = "  ";

/** Return a value under every spelling in which an item and an event may give it. */
function spellings(name, value) {
  if (typeof value === "boolean") return [`${name}=${value}`];
  const text = String(value);
  const found = [text, text.replace(/^\+/, "")]; // a phone, with or without its plus
  const moment = TIME.test(text) ? Date.parse(text) : NaN;
  if (!Number.isNaN(moment)) found.push(String(moment), String(Math.floor(moment / 1000)));
  return found;
}

function isLeaf(value) {
  return value === null || typeof value !== "object";
}

function isSilent(value) {
  return value === null || value === "";
}

function* leaves(value, name = "") {
  if (!isLeaf(value)) {
    for (const [key, child] of Object.entries(value)) {
      yield* leaves(child, Array.isArray(value) ? name : key);
    }
  } else if (!isSilent(value)) yield [name, value];
}

/**
 * Return an item's JSON in parts, each `[text, isOnlyHere]`, and how many of its values stand in
 * the event. Null and empty strings say nothing, and count neither way.
 */
export function difference(raw, event) {
  const known = new Set([...leaves(event)].flatMap(([name, value]) => spellings(name, value)));
  const parts = [];
  const counts = { shared: 0, missing: 0 };
  const write = (text, isOnlyHere = false) => {
    const last = parts.at(-1);
    if (last && last[1] === isOnlyHere) last[0] += text;
    else parts.push([text, isOnlyHere]);
  };
  const visit = (value, name, indent) => {
    if (isLeaf(value)) {
      const isShared = spellings(name, value).some((each) => known.has(each));
      if (!isSilent(value)) counts[isShared ? "shared" : "missing"] += 1;
      write(JSON.stringify(value), !isShared && !isSilent(value));
      return;
    }
    const isList = Array.isArray(value);
    const [open, close] = isList ? "[]" : "{}";
    const inside = Object.entries(value);
    write(open);
    inside.forEach(([key, child], index) => {
      write(`${index ? "," : ""}\n${indent}${INDENT}${isList ? "" : `${JSON.stringify(key)}: `}`);
      visit(child, isList ? name : key, indent + INDENT);
    });
    write(inside.length ? `\n${indent}${close}` : close);
  };
  visit(raw, "", "");
  return { parts, ...counts };
}
