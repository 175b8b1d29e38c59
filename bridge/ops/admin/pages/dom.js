// Elements and texts. Whatever a message holds becomes text here, never markup: nothing in these
// modules sets innerHTML, and no link is made of what came from outside.

// What a browser may act on instead of showing it: controls, formats (bidirectional overrides
// among them), lone surrogates, line and paragraph separators. Emoji are spelt with joiners.
const HARMFUL = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
const HARMLESS = new Set(["\u200c", "\u200d"]);
const LONGEST = 2000;

/** Make an element; a function among the attributes listens, and null leaves an attribute out. */
export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "hidden") element[name] = value;
    else if (value != null && value !== false) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  return put(element, children);
}

/** Append children to an element, lists of them among these; null is none. */
export function put(element, ...children) {
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

/** Return a text in which everything that could act on the page is written as an escape. */
export function visible(text, kept = "") {
  return String(text).replace(HARMFUL, (character) =>
    HARMLESS.has(character) || kept.includes(character)
      ? character
      : `\\u${character.codePointAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Return a text for one line, cut where it is long. */
export function brief(text, longest = 160) {
  const characters = visible(String(text).slice(0, longest + 1)); // of 100 kB a look is enough
  return characters.length > longest ? `${characters.slice(0, longest)}…` : characters;
}

/**
 * Return an element with a text of any length, whose rest is shown when one asks.
 *
 * The text may come in parts, each `[text, isMarked]`.
 */
export function whole(tag, attributes, text) {
  const parts = Array.isArray(text) ? text : [[text, false]];
  const shown = parts.map(([part, isMarked]) => [visible(part, "\n\t"), isMarked]);
  const size = shown.reduce((sum, [part]) => sum + part.length, 0);
  const element = h(tag, { dir: "auto", ...attributes });
  element.append(...pieces(shown, LONGEST));
  if (size <= LONGEST) return element;
  const more = h(
    "button",
    { type: "button", onclick: () => element.replaceChildren(...pieces(shown, size)) },
    `Show all ${size.toLocaleString("en")} characters`,
  );
  element.append("… ", more);
  return element;
}

function pieces(parts, longest) {
  let left = longest;
  const found = [];
  for (const [part, isMarked] of parts) {
    if (left <= 0) break;
    const piece = part.slice(0, left);
    found.push(isMarked ? h("mark", null, piece) : piece);
    left -= piece.length;
  }
  return found;
}

/** Return JSON as one reads it; `parts` is its text where some of it is marked. */
export function json(value, label, parts = null) {
  // A scrollable region has to be reachable by keyboard.
  const attributes = { class: "json", tabindex: "0", role: "region", "aria-label": label };
  return whole("pre", { ...attributes, dir: "ltr" }, parts ?? JSON.stringify(value, null, 2));
}

export function button(label, onclick, attributes) {
  return h("button", { type: "button", onclick, ...attributes }, label);
}

/** Return a time of ours as one reads it, with the whole of it for those who need that. */
export function time(text) {
  if (!text) return "";
  const moment = new Date(text);
  const isToday = moment.toDateString() === new Date().toDateString();
  const hours = moment.toLocaleTimeString("en-GB");
  const day = moment.toLocaleDateString("en-CA");
  return h("time", { datetime: text, title: text }, isToday ? hours : `${day} ${hours}`);
}

export function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let number = bytes;
  let unit = 0;
  while (number >= 1000 && unit < units.length - 1) {
    number /= 1000;
    unit += 1;
  }
  return `${number.toFixed(unit ? 1 : 0)} ${units[unit]}`;
}

export function counted(number, word) {
  return `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
}

/** Return how long ago a time is. */
export function ago(text) {
  const seconds = Math.max(0, Math.round((Date.now() - new Date(text)) / 1000));
  if (seconds < 120) return `${seconds} s ago`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min ago`;
  return `${Math.round(seconds / 3600)} h ago`;
}

/** Say something to those who see the page, and to those who hear it. */
export function say(text, isError = false) {
  const said = document.getElementById("said");
  said.textContent = text === "" ? "" : brief(text, 500);
  said.classList.toggle("error", isError);
}

/** Ask before something that cannot be undone; resolves to whether it is wanted. */
export function confirmed(question, label) {
  return new Promise((resolve) => {
    const close = (answer) => () => dialog.close(answer);
    const dialog = h(
      "dialog",
      {
        "aria-label": "Please confirm",
        onclose: () => {
          resolve(dialog.returnValue === "yes");
          dialog.remove();
        },
      },
      h("p", null, question),
      h("div", { class: "actions" }, button("Cancel", close("no")), button(label, close("yes"))),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Put a text into the clipboard, or where a page may not, show it to be copied by hand. */
export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    say(`Copied as ${what}.`);
  } catch {
    const area = h("textarea", { readonly: true, rows: "8", "aria-label": "To copy", value: text });
    const dialog = h(
      "dialog",
      { "aria-label": "Copy", onclose: () => dialog.remove() },
      area,
      h("div", { class: "actions" }, button("Close", () => dialog.close())),
    );
    document.body.append(dialog);
    dialog.showModal();
    area.select();
  }
}

/** Return a table in a region that scrolls by itself where the screen is narrow. */
export function table(label, headings, rows) {
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
    h(
      "table",
      null,
      h("thead", null, h("tr", null, headings.map((each) => h("th", { scope: "col" }, each)))),
      h("tbody", null, rows),
    ),
  );
}
