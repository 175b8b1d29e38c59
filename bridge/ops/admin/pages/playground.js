// Bodies in, events out, as one types; nothing is kept.

import { get, post } from "./api.js";
import { h, json } from "./dom.js";

const PAUSE = 250;

export async function playground({ root, filters, signal }) {
  const { adapters } = await get("/status", {}, { signal });
  const adapter = h(
    "select",
    { id: "adapter" },
    adapters.map((each) =>
      h("option", { value: each, selected: each === filters.adapter }, each),
    ),
  );
  const body = h("textarea", { id: "body", rows: "14", spellcheck: "false", dir: "ltr" });
  const out = h("div", { role: "status" }, "Paste a callback's body.");
  let due = 0;
  let asking = new AbortController();
  const read = async () => {
    asking.abort();
    asking = new AbortController();
    if (!body.value.trim()) {
      out.replaceChildren("Paste a callback's body.");
      return;
    }
    try {
      const request = { adapter: adapter.value, body: body.value };
      const { events, malformed } = await post("/normalize", request, { signal: asking.signal });
      const said = malformed ?? (events.length ? null : "It holds nothing that is told.");
      out.replaceChildren(
        ...(said ? [h("p", { class: malformed ? "error" : null }, said)] : []),
        ...events.map(({ raw: _, ...told }) => json(told, `An event: ${told.kind}`)),
      );
    } catch (error) {
      if (error.name !== "AbortError") out.replaceChildren(h("p", { class: "error" }, error.message));
    }
  };
  body.addEventListener("input", () => {
    clearTimeout(due);
    due = setTimeout(read, PAUSE);
  });
  adapter.addEventListener("change", read);
  root.append(
    h(
      "div",
      { class: "columns" },
      h(
        "section",
        { "aria-label": "What came" },
        h("div", { class: "field" }, h("label", { for: "adapter" }, "Adapter"), adapter),
        h("div", { class: "field" }, h("label", { for: "body" }, "Body"), body),
      ),
      h("section", { "aria-label": "Its events" }, h("h2", null, "Its events"), out),
    ),
  );
}
