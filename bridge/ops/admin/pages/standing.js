// How things stand, looked at every two seconds: the journal, who sends, and who takes.

import { SignIn, get } from "./api.js";
import { ago, brief, h, say, size, table, time } from "./dom.js";
import { summary } from "./text.js";

const EVERY = 2000;

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

export async function subscribers({ root, filters, signal }) {
  if (filters.held) {
    await held(root, filters.held, signal);
    return;
  }
  await watched(root, signal, ({ subscribers: all }) => [
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
              h(
                "td",
                null,
                each.held
                  ? h(
                      "a",
                      { href: `#/subscribers?held=${encodeURIComponent(each.name)}` },
                      String(each.held),
                    )
                  : "0",
              ),
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

/** List what a subscriber tries again: each of these events blocks its conversation. */
async function held(root, name, signal) {
  const found = await get(`/subscribers/${encodeURIComponent(name)}/held`, {}, { signal });
  root.append(
    h("h2", null, `What ${brief(name, 60)} tries again`),
    h("p", null, "Each holds up the rest of its conversation."),
    heldTable(found.held),
  );
}

function standing({ begun, error }) {
  if (!begun) return "put off";
  return error ? "in doubt" : "under way";
}

function heldTable(all, isSending = false) {
  if (!all.length) return h("p", null, "Nothing.");
  return table(
    "Held events",
    ["Event", isSending ? "Standing" : null, "Tries", "Next try", "Error"].filter(Boolean),
    all.map((each) =>
      h(
        "tr",
        null,
        h(
          "td",
          { dir: "auto" },
          h("a", { href: `#/event/${each.entry.position}` }, brief(summary(each.entry.event), 80)),
        ),
        isSending ? h("td", null, standing(each)) : null,
        h("td", null, String(each.tries)),
        h("td", null, time(each.due_at)),
        h("td", { dir: "auto" }, brief(each.error ?? "", 300)),
      ),
    ),
  );
}

/** Show what waits to be sent, what is refused, and what failed and what to do about it. */
export async function outbox({ root, signal }) {
  const found = await get("/outbox", {}, { signal });
  const { sending, refusals: refused } = found;
  if (!sending) {
    root.append(h("p", null, "Nothing can be sent: no adapter has what that takes."));
    return;
  }
  root.append(
    h(
      "dl",
      { class: "facts" },
      fact("Waiting at most", String(sending.waiting)),
      fact("Oldest not yet tried", sending.lag_seconds ? `${sending.lag_seconds} s` : "none"),
      fact("Put off", String(found.put_off)),
      fact("Under way", String(found.under_way)),
      fact("In doubt", String(found.in_doubt)),
      fact("Conversations held up", String(sending.held_lanes)),
      fact("Dead", String(sending.dead)),
    ),
    h("h2", null, "What is put off, under way or in doubt"),
    h("p", null, "Each holds up the rest of its conversation. In doubt is what the provider may have already."),
    heldTable(found.held, true),
    h("h2", null, "Refused at once since the start"),
    refusals(refused),
    h("h2", null, "What failed lately, by the provider's code"),
    found.failures.length
      ? table(
          "Failures",
          ["Failure", "What to do", "Messages", "The last"],
          found.failures.map((each) =>
            h(
              "tr",
              null,
              h("td", { dir: "auto" }, brief(failure(each), 300)),
              h("td", null, each.advice ?? "Not known: the adapter does not send any more."),
              h("td", null, String(each.count)),
              h("td", null, h("a", { href: `#/event/${each.position}` }, time(each.last_at))),
            ),
          ),
        )
      : h("p", null, "Nothing among the last 1,000 statuses."),
  );
}

function failure({ source, status, code, title }) {
  return [source, status, code, title].filter(Boolean).join(" · ");
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
          h("td", null, last(each)),
          h("td", null, refusals(each.refusals)),
          h("td", null, time(each.refused_at)),
        ),
      ),
    ),
  ]);
}

function last({ accepted_at: acceptedAt, quiet }) {
  const text = acceptedAt ? ago(acceptedAt) : "none since the start";
  return quiet ? h("strong", null, `${text}: nothing for 20 minutes`) : text;
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
