// Events, live and back in time, a page at a time: however many there are, a page is a page.

import { SignIn, follow, get } from "./api.js";
import { button, counted, h, say } from "./dom.js";
import { KINDS, row } from "./text.js";

const PAGE = 100;
const MOST = 200; // rows of a page that grows
const CONTENTS = [
  ..."text media location contacts choice form reaction order template menu carousel".split(" "),
  ..."native receipt edit deletion system call_permission unsupported".split(" "),
];
const FIELDS = [
  ["kind", "Kind", KINDS],
  ["content", "Content", CONTENTS],
  ["channel", "Channel"],
  ["account", "Account"],
  ["party", "Phone or user id"],
  ["message_id", "Message id"],
  ["since", "Since", "2026-01-31T12:00:00Z"],
  ["until", "Until", "2026-01-31T13:00:00Z"],
];

export async function events({ root, filters, signal }) {
  const { before, ...wanted } = filters;
  root.append(form(wanted), lookUp());
  const list = h("ol", { class: "events", "aria-label": "Events, the newest first" });
  const empty = h("p", { hidden: true }, "Nothing is here.");
  const pages = h("nav", { class: "pages", "aria-label": "Pages" });
  const state = h("span", { class: "state" });
  const bar = h("div", { class: "bar" }, state);
  root.append(bar, list, empty, pages);
  const page = await get(
    "/events",
    { ...wanted, before, newest_first: true, limit: PAGE },
    { signal },
  );
  list.append(...page.entries.map(row));
  empty.hidden = page.entries.length > 0;
  if (before) pages.append(h("a", { href: address(wanted) }, "Newest"));
  if (page.next) pages.append(h("a", { href: address({ ...wanted, before: page.next }) }, "Older"));
  if (before || wanted.until) {
    state.textContent = "back in time";
    return;
  }
  await live({ bar, state, list, empty, wanted, signal, after: page.entries[0]?.position ?? 0 });
}

function live({ bar, state, list, empty, wanted, signal, after }) {
  const waiting = [];
  let isPaused = false;
  const pause = button("Pause", () => {
    isPaused = !isPaused;
    pause.textContent = isPaused ? "Go on" : "Pause";
    pause.setAttribute("aria-pressed", String(isPaused));
    if (!isPaused) flush();
  }, { "aria-pressed": "false" });
  bar.append(pause);
  const flush = () => {
    list.prepend(...waiting.splice(0).reverse());
    while (list.children.length > MOST) list.lastElementChild.remove();
    empty.hidden = true;
  };
  const add = (element) => {
    element.classList.add("new");
    waiting.push(element);
    if (waiting.length > MOST) waiting.shift();
    if (!isPaused) requestAnimationFrame(flush);
    else state.textContent = `paused: ${counted(waiting.length, "event")} more`;
  };
  const { since: _, ...stream } = wanted; // what comes is later anyway
  const told = {
    entry: (entry) => add(row(entry)),
    gap: ({ before }) => {
      const more = address({ ...wanted, before });
      add(h("li", null, h("a", { href: more, class: "row" }, "More came than is shown: see them")));
    },
    state: (text) => {
      if (!isPaused) state.textContent = text;
      if (text !== "live") say(`The connection broke: ${text}.`);
      else say("");
    },
  };
  state.textContent = "live";
  return follow({ ...stream, limit: 20 }, after, signal, told).catch((error) => {
    if (error instanceof SignIn) throw error;
    state.textContent = error.message;
  });
}

function form(wanted) {
  const fields = FIELDS.map(([name, label, values]) => {
    const id = `filter-${name}`;
    const field = Array.isArray(values)
      ? h(
          "select",
          { id, name },
          h("option", { value: "" }, "any"),
          values.map((each) => h("option", { value: each, selected: wanted[name] === each }, each)),
        )
      : h("input", { id, name, value: wanted[name] ?? "", placeholder: values, size: "12" });
    return h("div", { class: "field" }, h("label", { for: id }, label), field);
  });
  const isFiltered = Object.keys(wanted).length > 0;
  return h(
    "details",
    { class: "filters", open: isFiltered },
    h("summary", null, isFiltered ? "Filters: some are set" : "Filters"),
    h(
      "form",
      {
        onsubmit: (submitted) => {
          submitted.preventDefault();
          location.hash = address(Object.fromEntries(new FormData(submitted.target)));
        },
      },
      fields,
      h(
        "div",
        { class: "actions" },
        h("button", { type: "submit" }, "Filter"),
        h("a", { href: "#/events" }, "Clear"),
      ),
    ),
  );
}

function lookUp() {
  const field = h("input", { id: "key", name: "key", size: "30", required: true, autocomplete: "off" });
  return h(
    "form",
    {
      class: "actions",
      onsubmit: (submitted) => {
        submitted.preventDefault();
        location.hash = `#/event?${new URLSearchParams({ key: field.value.trim() })}`;
      },
    },
    h("label", { for: "key" }, "Key or message id"),
    field,
    h("button", { type: "submit" }, "Find"),
  );
}

function address(filters) {
  const given = Object.entries(filters).filter(([, value]) => value !== "");
  const query = new URLSearchParams(given).toString();
  return query ? `#/events?${query}` : "#/events";
}
