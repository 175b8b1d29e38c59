// Events in the words of one line.

import { brief, h, time, visible } from "./dom.js";

const TICKS = { pending: "◷", accepted: "✓", sent: "✓", delivered: "✓✓", read: "✓✓", played: "✓✓", failed: "✗" };

export const KINDS = [
  "message",
  "status_change",
  "template_change",
  "consent_change",
  "handover",
  "typing",
  "notice",
  "unrecognized",
];

/** Return who a party is, by what is known of them. */
export function partyName(party) {
  return party?.name ?? party?.username ?? party?.phone ?? party?.user_id ?? "";
}

/** Return where a place is, unless it is masked. */
function coordinates({ latitude, longitude }) {
  return typeof latitude === "number" ? `${latitude}, ${longitude}` : "";
}

/** Return what a message's content says. */
export function contentText(content) {
  switch (content.kind) {
    case "text":
    case "edit":
      return content.text ?? "";
    case "media":
      return [content.media, content.filename, content.caption].filter(Boolean).join(" · ");
    case "location":
      return [content.name, content.address, coordinates(content)].filter(Boolean).join(" · ");
    case "choice":
      return content.title ?? content.id ?? "";
    case "menu":
      return [content.text, ...(content.options ?? []).map((each) => `[${each.title}]`)].join(" ");
    case "reaction":
      return content.emoji ?? "reaction taken back";
    default:
      return content.text ?? content.name ?? content.title ?? "";
  }
}

/** Return what an event says, for one line. */
export function summary(event) {
  switch (event.kind) {
    case "message": {
      const { content } = event;
      const label = content.kind === "text" ? "" : `${content.kind}: `;
      return `${partyName(event.sender)}: ${label}${contentText(content)}`;
    }
    case "status_change": {
      const moved = event.advanced === false ? ` (stays ${event.current})` : "";
      const error = event.error ? `: ${event.error.title ?? event.error.code ?? ""}` : "";
      return `${event.status}${moved}${error} · ${event.message_id}`;
    }
    case "template_change":
      return `${event.template_name ?? event.template_id}: ${event.aspect} ${event.value ?? ""}`;
    case "consent_change":
      return `${partyName(event.party)} ${event.granted ? "opted in" : "opted out"}`;
    case "handover":
      return `${partyName(event.party)}: ${event.reason ?? "handed over"}`;
    case "typing":
      return `${partyName(event.party)} is typing`;
    case "notice":
      return event.topic;
    case "unrecognized":
      return `${event.reason}${event.path ? ` at ${event.path}` : ""}`;
    default:
      return event.key;
  }
}

/** Return an entry as a line that leads to its page. */
export function row(entry) {
  const { event, position } = entry;
  const way = { inbound: "←", outbound: "→" }[event.direction] ?? "";
  const isBad = event.kind === "unrecognized" || event.status === "failed";
  return h(
    "li",
    { "data-position": position },
    h(
      "a",
      { href: `#/event/${position}`, class: isBad ? "row bad" : "row" },
      h("span", { class: "when" }, time(event.received_at)),
      h("span", { class: "kind" }, `${event.kind.replace("_", " ")}`),
      h("span", { class: "channel" }, `${brief(event.channel, 20)} ${way}`),
      h("span", { class: "summary", dir: "auto" }, brief(summary(event))),
    ),
  );
}

/** Return a status as ticks, with the word for those who do not see them. */
export function ticks(status) {
  const label = visible(status.status);
  return h(
    "span",
    { class: `ticks ${status.status in TICKS ? status.status : ""}`, title: label },
    h("span", { "aria-hidden": "true" }, TICKS[status.status] ?? "•"),
    h("span", { class: "heard" }, label),
  );
}
