// How things stand, looked at every two seconds: the journal, who sends, and who takes.

import { SignIn, get } from "./api.js";
import { ago, brief, h, say, size, table, time } from "./dom.js";

const EVERY = 2000;
const QUIET = 20 * 60 * 1000;

async function watched(root, signal, render) {
  const place = h("div");
  root.append(place);
  place.replaceChildren(...render(await get("/status", {}, { signal })));
  while (!signal.aborted) {
    await new Promise((resolve) => setTimeout(resolve, EVERY));
    if (signal.aborted) return;
    // Nobody is to lose the place that they are at.
    if (document.hidden || place.contains(document.activeElement)) continue;
    try {
      place.replaceChildren(...render(await get("/status", {}, { signal })));
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof SignIn) throw error;
      say(`The server does not answer: ${error.message}`, true);
    }
  }
}

export function subscribers({ root, signal }) {
  return watched(root, signal, ({ subscribers: all }) => [
    all.length
      ? table(
          "Subscribers",
          ["Name", "Running", "Lag", "Oldest", "Held", "Lanes held", "Failed tries", "Dead"],
          all.map((each) =>
            h(
              "tr",
              { class: each.dead ? "bad" : null },
              h("th", { scope: "row" }, brief(each.name, 60)),
              h("td", null, each.running ? "yes" : "no"),
              h("td", null, String(each.lag)),
              h("td", null, each.lag ? `${each.lag_seconds} s` : ""),
              h("td", null, String(each.held)),
              h("td", null, String(each.held_lanes)),
              h("td", null, String(each.failed_tries)),
              h(
                "td",
                null,
                each.dead
                  ? h(
                      "a",
                      { href: `#/dead?subscriber=${encodeURIComponent(each.name)}` },
                      String(each.dead),
                    )
                  : "0",
              ),
            ),
          ),
        )
      : h("p", null, "There are none."),
  ]);
}

export function sources({ root, signal }) {
  return watched(root, signal, (status) => [
    h(
      "dl",
      { class: "facts" },
      fact("Ready", `${status.ready ? "yes" : "no"}${status.reason ? `: ${status.reason}` : ""}`),
      fact("Journal", journal(status)),
      fact("Last event", status.last_event ? ago(status.last_event.received_at) : "none"),
      fact("Server", `incs-bridge ${status.version}, started ${ago(status.started_at)}`),
    ),
    table(
      "Sources",
      ["Adapter", "Last callback", "Refusals", "Last refusal"],
      status.sources.map((each) =>
        h(
          "tr",
          null,
          h("th", { scope: "row" }, brief(each.name, 60)),
          h("td", null, last(each, status.started_at)),
          h("td", null, refusals(each.refusals)),
          h("td", null, time(each.refused_at)),
        ),
      ),
    ),
  ]);
}

function last(source, startedAt) {
  const since = source.accepted_at ?? startedAt;
  const isQuiet = Date.now() - new Date(since) > QUIET;
  const text = source.accepted_at ? ago(source.accepted_at) : "none since the start";
  return isQuiet ? h("strong", null, `${text}: nothing for 20 minutes`) : text;
}

function refusals(counts) {
  const reasons = Object.entries(counts);
  if (!reasons.length) return "none";
  return h("ul", null, reasons.map(([reason, count]) => h("li", null, `${count}: ${brief(reason)}`)));
}

function journal(status) {
  if (status.size == null) return status.durable ? "on its servers" : "in memory";
  return `${size(status.size)}, ${size(status.free)} free on its disk`;
}

function fact(name, text) {
  return h("div", null, h("dt", null, name), h("dd", null, brief(text, 300)));
}
