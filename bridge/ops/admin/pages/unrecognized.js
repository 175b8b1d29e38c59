// What could not be read, to be parsed again once the adapter can.

import { get, post } from "./api.js";
import { brief, button, h, table, time } from "./dom.js";
import { reparsed, tried } from "./event.js";

export async function unrecognized({ root, filters, signal, again }) {
  const query = { kind: "unrecognized", mended: false, newest_first: true, before: filters.before };
  const page = await get("/events", { ...query, limit: 100 }, { signal });
  if (!page.entries.length) {
    root.append(h("p", null, "Everything could be read."));
    return;
  }
  const reparse = (positions, isDry) => () =>
    tried(async () => {
      const said = reparsed(await post("/reparse", { positions, dry_run: isDry }));
      if (!isDry) again();
      return isDry ? `A dry run: ${said}` : said;
    });
  const all = page.entries.map((each) => each.position);
  root.append(
    h(
      "div",
      { class: "actions" },
      button(`Try to read these ${all.length}`, reparse(all, true)),
      button(`Reparse these ${all.length}`, reparse(all, false)),
    ),
    table(
      "Unrecognized",
      ["Received", "Adapter", "Why", "Where", "Again"],
      page.entries.map(({ position, event }) =>
        h(
          "tr",
          null,
          h("td", null, h("a", { href: `#/event/${position}` }, time(event.received_at))),
          h("td", null, brief(event.source, 40)),
          h("td", { dir: "auto" }, brief(event.reason)),
          h("td", { dir: "auto" }, brief(event.path ?? "", 80)),
          h(
            "td",
            null,
            button("Reparse", reparse([position], false), {
              "aria-label": `Reparse the event at ${position}`,
            }),
          ),
        ),
      ),
    ),
  );
  if (page.next) {
    const href = `#/unrecognized?before=${page.next}`;
    root.append(h("nav", { class: "pages", "aria-label": "Pages" }, h("a", { href }, "Older")));
  }
}
