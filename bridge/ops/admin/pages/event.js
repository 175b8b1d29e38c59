// One event: as it came, as it is told, and what became of it; and a conversation as bubbles.

import { curl, follow, get, post, session } from "./api.js";
import { difference } from "./difference.js";
import {
  brief,
  button,
  confirmed,
  copy,
  counted,
  h,
  json,
  put,
  say,
  time,
  visible,
  whole,
} from "./dom.js";
import { contentText, partyName, summary, ticks } from "./text.js";

const PAGE = 200;

export async function event({ root, argument: asked, filters, signal, again }) {
  const { key } = filters;
  const found = await get("/event", key ? { key } : { position: asked }, { signal });
  const { entry, outcomes, history } = found;
  const argument = entry.position;
  const { raw, ...told } = entry.event;
  root.firstChild.textContent = brief(summary(entry.event), 120);
  const isTalk = entry.event.conversation != null;
  put(
    root,
    h(
      "p",
      null,
      `${visible(entry.event.kind)} from ${visible(entry.event.source)}, `,
      time(entry.event.received_at),
      entry.mended ? ", read since" : "",
      isTalk ? ", " : "",
      isTalk ? h("a", { href: `#/conversation/${argument}` }, "the conversation") : "",
    ),
    key && key !== entry.event.key
      ? h("p", { dir: "auto" }, `The first that was published of ${brief(key)}.`)
      : null,
    relations(entry, history),
    actions(entry, outcomes, again),
    h(
      "div",
      { class: "columns" },
      h(
        "section",
        { "aria-label": "As it came" },
        h("h2", null, "As it came"),
        raw === undefined
          ? h("p", null, "Hidden: it cannot be masked. Tick “Personal data” to see it.")
          : asItCame(raw, told),
      ),
      h(
        "section",
        { "aria-label": "As it is told" },
        h("h2", null, "As it is told"),
        json(told, "As it is told"),
      ),
      h(
        "section",
        { "aria-label": "What became of it" },
        h("h2", null, "What became of it"),
        outcomes.length ? outcomes.map((each) => outcome(each, argument, again)) : h("p", null, "No subscriber wants it."),
      ),
    ),
    timeline(history, entry.position),
    callbacks(found),
  );
}

/** Return how often, when and from where the event was told, with each callback's headers. */
function callbacks({ entry, callbacks: known, callbacks_since: since }) {
  const told = entry.event.origin === "bridge"
    ? "None: the bridge itself made this event."
    : ["Not known any more: the server remembers the last 500 since its start, ", time(since), "."];
  return h(
    "section",
    { "aria-label": "Callbacks that told of it" },
    h("h2", null, "Callbacks that told of it"),
    known.length ? known.map((each) => callback(each, entry.position)) : h("p", null, told),
  );
}

function callback({ source, received_at: at, client, headers, position }, own) {
  const became = position === null
    ? "a repetition: nothing was published for it"
    : position === own
      ? "this event was published for it"
      : h("a", { href: `#/event/${position}` }, "another event was published for it");
  return h(
    "details",
    null,
    h("summary", null, time(at), ` by ${brief(source, 60)}, ${client ? `from ${client}, ` : ""}`, became),
    headers.length
      ? h(
          "dl",
          { class: "headers" },
          headers.map(([name, value]) =>
            h("div", null, h("dt", null, brief(name, 60)), h("dd", { dir: "auto" }, brief(value, 300))),
          ),
        )
      : h("p", null, "It came without headers."),
  );
}

/** Return the provider's item, in which the values are marked that the event leaves out. */
function asItCame(raw, told) {
  const { parts, shared, missing } = difference(raw, told);
  if (!shared && !missing) return json(raw, "As it came"); // a message or status of the bridge's own
  const rest = missing ? `; the ${missing} marked ${missing === 1 ? "one stands" : "ones stand"} only here` : "";
  return [
    h("p", { class: "compared" }, `${shared} of ${counted(shared + missing, "value")} in the event too${rest}.`),
    json(raw, "As it came", parts),
  ];
}

/** Return what an event came of, and what it completes or is completed by, with links. */
function relations({ position, event }, history) {
  const others = history.filter((each) => each.position !== position);
  const lines = [];
  const tell = (words, entry, after = "") =>
    lines.push(
      h(
        "li",
        null,
        `${words} `,
        h("a", { href: `#/event/${entry.position}`, dir: "auto" }, brief(summary(entry.event), 90)),
        after,
      ),
    );
  if (event.kind === "status_change") {
    const ours = others.find((each) => each.event.kind === "message");
    const name = ours && names(ours.event).find((each) => names(event).includes(each));
    if (ours) tell("A status of our message", ours, `, by its name ${brief(name)}`);
    else lines.push(h("li", null, "The journal keeps no message of this name."));
  }
  for (const each of others) {
    if (event.completes && each.event.key === event.completes) tell("It completes", each);
    if (each.event.completes && each.event.completes === event.key) tell("Completed by", each);
  }
  return lines.length ? h("ul", { class: "relations", "aria-label": "What it belongs to" }, lines) : null;
}

function names(event) {
  return [event.message_id, ...(event.aliases ?? [])];
}

function actions(entry, outcomes, again) {
  const { position, event } = entry;
  const chosen = h(
    "select",
    { id: "replay-to" },
    h("option", { value: "" }, "every subscriber"),
    outcomes.map((each) => h("option", { value: each.subscriber }, brief(each.subscriber, 60))),
  );
  const replay = async () => {
    const whom = chosen.value || "every subscriber that wants it";
    if (!(await confirmed(`Give this event again to ${whom}?`, "Replay"))) return;
    await tried(async () => {
      const body = { positions: [position], ...(chosen.value ? { subscriber: chosen.value } : {}) };
      const done = await post("/replay", body);
      const count = Object.values(done.subscribers).reduce((sum, each) => sum + each, 0);
      return `Given again to ${counted(count, "subscriber")}.`;
    });
    again();
  };
  return h(
    "div",
    { class: "actions" },
    h("label", { for: "replay-to" }, "Replay to"),
    chosen,
    button("Replay", replay),
    event.kind === "unrecognized" && !entry.mended
      ? button("Reparse", () => tried(async () => {
          const said = reparsed(await post("/reparse", { positions: [position] }));
          again();
          return said;
        }))
      : null,
    button("Copy as curl", () => copy(curl("/event", { position }), "curl")),
    button("Copy as command", () => copy(`bridge show ${quoted(event.key)}`, "command")),
    button("Copy as test", () => tried(() => copyTest(position))),
  );
}

/** Return what came of parsing once more, in words. */
export function reparsed(done) {
  const all = Object.values(done.reparsed);
  const whole = all.filter((each) => each?.mended).length;
  const published = all.reduce((sum, each) => sum + (each?.published ?? 0), 0);
  return `${whole} of ${all.length} can be read now; ${counted(published, "new event")}.`;
}

/** Do something, and say what came of it. */
export async function tried(doing) {
  try {
    const said = await doing();
    if (said) say(said);
  } catch (error) {
    say(error.message, true);
  }
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

async function copyTest(position) {
  const { entry } = await get("/event", { position }, { isShown: true });
  // A string of JSON in JSON is a string of Python too.
  const literal = JSON.stringify(JSON.stringify(entry.event));
  const lines = [
    "from bridge.model.codec import decode",
    "",
    `EVENT = decode(${literal})`,
    "",
    "",
    "async def test_it_is_taken():",
    '    """The subscriber takes this event."""',
    "    await your_subscriber(EVENT)",
    "",
  ];
  await copy(lines.join("\n"), "test");
}

function outcome(each, position, again) {
  const times = [
    ["first_failed_at", "failing since"],
    ["failed_at", "last failed"],
    ["due_at", "next try"],
  ].filter(([name]) => each[name]);
  const change = (path) => () =>
    tried(async () => {
      await post(path, { ids: [each.letter] });
      setTimeout(again, 300);
      return path.endsWith("retry") ? "Given its tries again." : "Dropped.";
    });
  return h(
    "article",
    { class: `outcome ${each.standing}`, "aria-label": brief(each.subscriber, 60) },
    h(
      "h3",
      null,
      brief(each.subscriber, 60),
      " ",
      h("span", { class: `badge ${each.standing}` }, each.standing),
      each.replayed ? " replayed" : "",
    ),
    each.tries ? h("p", null, counted(each.tries, "failed try").replace("trys", "tries")) : null,
    times.map(([name, label]) => h("p", null, `${label} `, time(each[name]))),
    each.error ? whole("p", { class: "error" }, each.error) : null,
    each.where ? h("p", null, `It failed at ${brief(each.where)}.`) : null,
    frames(each.trace),
    each.standing === "held"
      ? button("Try now", () =>
          tried(async () => {
            await post("/replay", { positions: [position], subscriber: each.subscriber });
            setTimeout(again, 300);
            return "Tried again.";
          }),
        )
      : null,
    each.letter
      ? h(
          "div",
          { class: "actions" },
          button("Retry", change("/dead/retry")),
          button("Drop", async () => {
            if (await confirmed("Drop this dead letter? It is not delivered any more.", "Drop")) {
              await change("/dead/drop")();
            }
          }),
        )
      : null,
  );
}

/** Return the lines of code that an error came through. */
export function frames(trace) {
  if (!trace?.length) return null;
  const attributes = { class: "frames", tabindex: "0", role: "region", "aria-label": "Frames" };
  return whole("pre", { ...attributes, dir: "ltr" }, trace.join("\n"));
}

function timeline(history, position) {
  if (history.length < 2) return null;
  return h(
    "section",
    { "aria-label": "The message's history" },
    h("h2", null, "The message's history"),
    h(
      "ol",
      { class: "timeline" },
      history.map((each) =>
        h(
          "li",
          { "aria-current": each.position === position ? "true" : null },
          time(each.event.occurred_at),
          " ",
          each.event.status ? ticks(each.event) : null,
          " ",
          h("a", { href: `#/event/${each.position}`, dir: "auto" }, brief(summary(each.event), 90)),
        ),
      ),
    ),
  );
}

// --- a conversation ------------------------------------------------------------------------

export async function conversation({ root, argument, filters, signal }) {
  const { before } = filters;
  const wanted = { conversation_of: argument };
  const query = { ...wanted, before, newest_first: true, limit: PAGE };
  const page = await get("/events", query, { signal });
  const entries = page.entries.reverse();
  const pages = h("nav", { class: "pages", "aria-label": "Pages" });
  if (page.next) {
    pages.append(h("a", { href: `#/conversation/${argument}?before=${page.next}` }, "Older"));
  }
  if (before) pages.append(h("a", { href: `#/conversation/${argument}` }, "Newest"));
  const list = h("ol", { class: "bubbles", "aria-label": "The conversation, the oldest first" });
  root.append(pages, list);
  if (!session.isShown) root.append(h("p", null, "Masked. Tick “Personal data” to read it."));
  list.replaceChildren(...bubbles(entries));
  list.lastElementChild?.scrollIntoView({ block: "nearest" });
  if (before) return;
  const after = entries.at(-1)?.position ?? 0;
  await follow(wanted, after, signal, {
    entry: (entry) => {
      entries.push(entry);
      list.replaceChildren(...bubbles(entries));
    },
    gap: () => {},
    state: () => {},
  });
}

function bubbles(entries) {
  const statuses = new Map();
  for (const { event } of entries) {
    if (event.kind !== "status_change") continue;
    for (const name of names(event)) statuses.set(name, event);
  }
  return entries
    .filter(({ event }) => event.kind !== "status_change" && event.kind !== "typing")
    .map((entry) => {
      const { event, position } = entry;
      if (event.kind !== "message") {
        return h(
          "li",
          { class: "aside" },
          h("a", { href: `#/event/${position}` }, brief(summary(event))),
        );
      }
      const status = names(event)
        .map((name) => statuses.get(name))
        .find(Boolean);
      return h(
        "li",
        { class: `bubble ${event.direction}` },
        h("span", { class: "who" }, brief(partyName(event.sender), 60)),
        event.content.kind === "text" ? null : h("span", { class: "badge" }, event.content.kind),
        whole("p", null, contentText(event.content)),
        h(
          "a",
          { href: `#/event/${position}` },
          time(event.occurred_at),
          h("span", { class: "heard" }, " details"),
        ),
        " ",
        status ? ticks({ status: status.current ?? status.status }) : null,
      );
    });
}
