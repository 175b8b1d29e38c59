// Dead letters, grouped by their fault: a broken subscriber has one fault and many letters.

import { get, post } from "./api.js";
import { brief, button, confirmed, counted, h, time, whole } from "./dom.js";
import { frames, tried } from "./event.js";
import { summary } from "./text.js";

const PAGE = 500;
const MOST = 2000;
const FEW = 20;

export async function dead({ root, filters, signal, again }) {
  const { subscribers } = await get("/subscribers", {}, { signal });
  const failing = subscribers.filter(
    (each) => each.held && each.failed_tries && [undefined, each.name].includes(filters.subscriber),
  );
  const letters = [];
  let after = 0;
  while (after !== null && letters.length < MOST) {
    const query = { subscriber: filters.subscriber, after, limit: PAGE };
    const page = await get("/dead", query, { signal });
    letters.push(...page.letters);
    after = page.next;
  }
  if (filters.subscriber) {
    root.append(
      h(
        "p",
        null,
        `Those of ${brief(filters.subscriber, 60)} only. `,
        h("a", { href: "#/dead" }, "Show all"),
      ),
    );
  }
  root.append(...failing.map(stillTried));
  if (after !== null) root.append(h("p", null, `The oldest ${letters.length} of them.`));
  if (!letters.length) root.append(h("p", null, "There are no dead letters."));
  const groups = Map.groupBy
    ? Map.groupBy(letters, nameOf)
    : letters.reduce((all, each) => {
        all.set(nameOf(each), [...(all.get(nameOf(each)) ?? []), each]);
        return all;
      }, new Map());
  const sorted = [...groups.values()].sort((one, other) => other.length - one.length);
  root.append(...sorted.map((each) => group(each, again)));
}

/** Tell of what a subscriber fails with, and is not dead yet. */
function stillTried({ name, held }) {
  const events = counted(held, "event");
  const link = h("a", { href: `#/subscribers?held=${encodeURIComponent(name)}` }, events);
  return h("p", null, `${brief(name, 60)} fails, and is given `, link, " again.");
}

/** Return what the letters of one fault have in common: the line that raised, and what it raised. */
function nameOf({ subscriber, where, error }) {
  const kind = where ? (error ?? "").split(":")[0] : (error ?? "").replace(/\d+/g, "0");
  return JSON.stringify([subscriber, where ?? null, kind]);
}

function group(letters, again) {
  const [first] = letters;
  const last = letters.at(-1);
  const change = (path, some, said) => () =>
    tried(async () => {
      const done = await post(path, { ids: some.map((each) => each.id) });
      setTimeout(again, 300); // what is retried may die again at once, and is to be seen
      return `${counted(Object.values(done)[0], "letter")} ${said}.`;
    });
  const drop = (some) => async () => {
    const question = `Drop ${counted(some.length, "letter")}? They are not delivered any more.`;
    if (await confirmed(question, "Drop")) await change("/dead/drop", some, "dropped")();
  };
  const wordings = new Set(letters.map((each) => each.error)).size;
  const row = (letter) =>
    h(
      "li",
      null,
      h(
        "a",
        { href: `#/event/${letter.entry.position}`, dir: "auto" },
        brief(summary(letter.entry.event), 90),
      ),
      " ",
      time(letter.failed_at),
      " ",
      button("Retry", change("/dead/retry", [letter], "retried"), {
        "aria-label": `Retry letter ${letter.id}`,
      }),
      button("Drop", drop([letter]), { "aria-label": `Drop letter ${letter.id}` }),
      letter.error !== first.error ? whole("p", { class: "error" }, letter.error ?? "no error") : null,
    );
  const list = h("ol", { class: "letters" }, letters.slice(0, FEW).map(row));
  return h(
    "article",
    { class: "group", "aria-label": `${brief(first.subscriber, 60)}: ${brief(first.error, 80)}` },
    h("h2", null, `${counted(letters.length, "letter")} of ${brief(first.subscriber, 60)}`),
    whole("p", { class: "error" }, first.error ?? "no error"),
    wordings > 1 ? h("p", null, `In ${wordings} wordings; the oldest letter's stands here.`) : null,
    last.where ? h("p", null, `Raised at ${brief(last.where)}.`) : null,
    h("p", null, "first ", time(first.failed_at), ", last ", time(last.failed_at)),
    frames(last.trace),
    h(
      "div",
      { class: "actions" },
      button(letters.length === 1 ? "Retry it" : `Retry all ${letters.length}`, change("/dead/retry", letters, "retried")),
      button(letters.length === 1 ? "Drop it" : `Drop all ${letters.length}`, drop(letters)),
    ),
    list,
    letters.length > FEW
      ? button(`Show the other ${letters.length - FEW}`, ({ currentTarget }) => {
          list.append(...letters.slice(FEW).map(row));
          currentTarget.remove();
        })
      : null,
  );
}
