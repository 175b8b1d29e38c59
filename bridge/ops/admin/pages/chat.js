// A phone to talk to one's bot with: what one says goes to the bridge's own address as the
// provider's callback, and what the bot sends comes back by the simulated provider.

import { follow, get, getFile, post, postFile } from "./api.js";
import { brief, button, h, json, say, size, time, whole } from "./dom.js";
import { tried } from "./event.js";
import { contentText, ticks } from "./text.js";

const PAGE = 100;
const FEW = 3; // options that channels show as buttons
const LATE = 5; // seconds
const WIDEST = 480; // pixels of a picture
const ALEXANDERPLATZ = { kind: "location", latitude: 52.5219, longitude: 13.4132 };

export async function chat({ root, filters, signal }) {
  const { phones, users } = await get("/chat", {}, { signal });
  if (!phones.length) {
    root.append(h("p", null, "No configured adapter's provider can be simulated."));
    return;
  }
  const phone = phones[Number(filters.phone)] ?? phones[0];
  const people = phone.user_id ? [...users, phone.user_id] : users;
  const user = filters.user || users[0];
  if (!people.includes(user)) people.push(user);
  const choose = (changes) => {
    const chosen = { phone: phones.indexOf(phone), user, ...changes };
    location.hash = `#/chat?${new URLSearchParams(chosen)}`;
  };
  const bubbles = h("ol", { class: "bubbles", "aria-label": "The conversation", role: "log" });
  const drawer = h("div", { class: "drawer" });
  const tell = (content, bytes = null) =>
    tried(async () => {
      const { adapter, account } = phone;
      const { file = null } = bytes ? await postFile("/chat/file", { adapter }, bytes) : {};
      const { acknowledged } = await post("/chat/say", { adapter, account, user, content, file });
      if (!acknowledged) throw new Error("The bridge did not acknowledge this callback.");
    });
  root.append(
    h(
      "div",
      { class: "actions" },
      chooser("Channel", phones.map(nameOf), phones.indexOf(phone), (at) => choose({ phone: at })),
      chooser("You are", people.map((each) => userName(each, phone)), people.indexOf(user), (at) =>
        choose({ user: people[at] }),
      ),
      another(choose),
    ),
    h(
      "div",
      { class: "columns" },
      h(
        "section",
        { class: "phone", "aria-label": "Phone" },
        bubbles,
        composer(tell),
      ),
      h(
        "section",
        { "aria-label": "What goes over the wire" },
        behaviour(phone, user),
        h("h2", null, "What goes over the wire"),
        drawer,
      ),
    ),
  );
  await watch({ phone, phones, user, bubbles, drawer, tell, signal });
}

async function watch({ phone, phones, user, bubbles, drawer, tell, signal }) {
  const told = new Map(); // our own messages and the user's, by the id that statuses name
  const shownFiles = files(signal);
  const same = new Map();
  const statuses = new Map();
  const isHere = ({ event }) => {
    if (event.source !== phone.adapter) return false;
    if (event.kind === "status_change") return true;
    const isOthers = phones.some((each) => each !== phone && each.account === event.account);
    if (isOthers || event.channel !== phone.channel) return false;
    const party = event.direction === "inbound" ? event.sender : event.recipient;
    const isOurs = event.direction === "inbound" || event.origin === "bridge";
    return isOurs && (party.phone === user || party.user_id === user);
  };
  const take = (entry) => {
    if (!isHere(entry)) return false;
    const { event } = entry;
    const names = [event.message_id, ...(event.aliases ?? [])];
    // INCS repeats what was sent through it; that is the same message.
    if (event.kind === "message") {
      const known = [...told.keys()].find((id) => names.includes(id));
      if (known === undefined) told.set(event.message_id, entry);
      else names.forEach((id) => same.set(id, known));
    } else {
      for (const id of names) statuses.set(same.get(id) ?? id, event);
    }
    return true;
  };
  const draw = () => {
    bubbles.replaceChildren(
      ...[...told.entries()].map(([id, entry]) => bubble(entry, statuses.get(id), tell, shownFiles)),
    );
    bubbles.scrollTop = bubbles.scrollHeight; // and not the page, on which somebody may click
  };
  let due = 0;
  const look = () => {
    clearTimeout(due);
    due = setTimeout(() => traffic(drawer, phone, signal), 100);
  };
  const shown = { isShown: true }; // it is nobody's data
  const query = { kind: ["message", "status_change"], newest_first: true, limit: PAGE };
  const page = await get("/events", query, { signal, ...shown });
  page.entries.reverse().forEach(take);
  draw();
  look();
  await follow(
    { kind: query.kind, limit: PAGE },
    page.entries.at(-1)?.position ?? 0,
    signal,
    {
      entry: (entry) => {
        if (take(entry)) draw();
        look();
      },
      gap: () => {},
      state: (text) => say(text === "live" ? "" : `The connection broke: ${text}.`),
    },
    shown,
  );
}

function bubble(entry, status, tell, shownFiles) {
  const { event, position } = entry;
  const isUser = event.direction === "inbound";
  return h(
    "li",
    { class: `bubble ${isUser ? "outbound" : "inbound"}` }, // as the user sees it
    content(event.content, tell, (media, card) => shownFiles(position, media, card)),
    h(
      "a",
      { href: `#/event/${position}` },
      time(event.occurred_at),
      h("span", { class: "heard" }, " details"),
    ),
    " ",
    isUser ? null : ticks({ status: status?.current ?? status?.status ?? "pending" }),
    status?.error ? h("span", { class: "error" }, ` ${brief(status.error.title ?? status.error.code)}`) : null,
  );
}

function content(value, tell, file, card = 0) {
  if (value.kind === "carousel") {
    return [
      value.text ? whole("p", null, value.text) : null,
      value.cards.map((each, at) => h("div", { class: "card" }, content(each, tell, file, at))),
    ];
  }
  if (value.options) {
    const source = value.options.length > FEW ? "list" : "button";
    const pick = (option) => () => tell({ kind: "choice", source, id: option.id, title: option.title });
    return [
      value.media ? file(value.media, card) : null,
      value.header ? h("strong", null, brief(value.header)) : null,
      value.text ? whole("p", null, value.text) : null,
      value.footer ? h("small", null, brief(value.footer)) : null,
      h(
        "div",
        { class: "options" },
        value.options.map((option) => {
          const act = option.url ?? option.phone ?? (option.location ? "a place" : null);
          return act
            ? h("span", { class: "badge" }, `${brief(option.title, 60)}: ${brief(act, 80)}`)
            : button(brief(option.title, 60), pick(option), { title: brief(option.description ?? "") || null });
        }),
      ),
    ];
  }
  const label = value.kind === "text" ? null : h("span", { class: "badge" }, value.kind);
  return [
    label,
    value.kind === "media" ? file(value, card) : null,
    whole("p", null, contentText(value)),
  ];
}

/** Return a function that gives the place of a file, filled once one sees it. */
function files(signal) {
  const places = new Map();
  return (position, media, card) => {
    const name = `${position}/${card}`;
    if (!places.has(name)) {
      const place = h("div", { class: "file" });
      places.set(name, place);
      const seen = new IntersectionObserver(([{ isIntersecting }]) => {
        if (!isIntersecting) return;
        seen.disconnect();
        fill(place, { position, card }, media, signal);
      });
      seen.observe(place);
    }
    return places.get(name);
  };
}

/** Show a picture, drawn and not linked to; of any other file, a button that saves it. */
async function fill(place, where, { media, filename }, signal) {
  const name = brief(filename ?? media, 80);
  try {
    const bytes = await getFile("/chat/file", where, { signal });
    const picture = await createImageBitmap(bytes).catch(() => null); // an SVG is none to it
    const save = () => {
      const link = h("a", { href: URL.createObjectURL(bytes), download: name });
      link.click();
      URL.revokeObjectURL(link.href);
    };
    place.replaceChildren(
      picture ? drawn(picture, name) : button(`Save ${name}, ${size(bytes.size)}`, save),
    );
  } catch (error) {
    if (!signal.aborted) place.replaceChildren(h("p", { class: "error" }, brief(error.message, 300)));
  }
}

function drawn(picture, name) {
  const scale = Math.min(1, WIDEST / Math.max(picture.width, picture.height));
  const canvas = h("canvas", { role: "img", "aria-label": name });
  canvas.width = Math.max(1, Math.round(picture.width * scale));
  canvas.height = Math.max(1, Math.round(picture.height * scale));
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  return canvas;
}

function composer(tell) {
  const field = h("input", { id: "words", autocomplete: "off", maxlength: "4096" });
  const file = h("input", {
    id: "attach",
    type: "file",
    class: "heard",
    onchange: async () => {
      const [chosen] = file.files;
      if (!chosen) return;
      const [family] = chosen.type.split("/");
      const media = ["image", "audio", "video"].includes(family) ? family : "document";
      const { name: filename, type: mime_type } = chosen;
      await tell({ kind: "media", media, filename, mime_type: mime_type || null }, chosen);
      file.value = "";
    },
  });
  return h(
    "form",
    {
      class: "composer",
      onsubmit: async (submitted) => {
        submitted.preventDefault();
        const text = field.value;
        if (!text.trim()) return;
        field.value = "";
        await tell({ kind: "text", text });
      },
    },
    h("label", { for: "words", class: "heard" }, "Message"),
    field,
    h("button", { type: "submit" }, "Send"),
    h("label", { for: "attach", class: "attach" }, "Attach", file),
    button("Location", () => tell(ALEXANDERPLATZ)),
  );
}

function behaviour(phone, user) {
  const box = (id, label) => {
    const input = h("input", { type: "checkbox", id, onchange: change });
    return [input, h("label", { for: id, class: "tick" }, input, ` ${label}`)];
  };
  const [late, ofLate] = box("late", `Statuses ${LATE} s late`);
  const [twice, ofTwice] = box("twice", "Statuses twice");
  const [fails, ofFails] = box("fails", "Nothing reaches this user");
  function change() {
    return tried(() =>
      post("/chat/behave", {
        adapter: phone.adapter,
        user,
        late: late.checked ? LATE : 0,
        repeats: twice.checked ? 1 : 0,
        fails: fails.checked,
      }).then(() => ""),
    );
  }
  return h(
    "fieldset",
    { class: "actions" },
    h("legend", null, "How the provider behaves from now on"),
    [ofLate, ofTwice, ofFails],
  );
}

async function traffic(drawer, phone, signal) {
  try {
    const found = await get("/chat/traffic", { adapter: phone.adapter }, { signal, isShown: true });
    const wasOpen = new Set(
      [...drawer.querySelectorAll("details[open]")].map((each) => each.dataset.name),
    );
    const item = (value, name, label) =>
      h(
        "details",
        { "data-name": name, open: wasOpen.has(name) },
        h("summary", null, label),
        json(value, label),
      );
    const count = (all, at) => all.length - at;
    drawer.replaceChildren(
      h("h3", null, `Callbacks to the bridge: ${found.callbacks.length}`),
      ...found.callbacks.map((each, at) =>
        item(
          each,
          `callback ${count(found.callbacks, at)}`,
          `Callback ${count(found.callbacks, at)}: ${brief(found.told[at], 60)}`,
        ),
      ),
      h("h3", null, `Requests of the bridge: ${found.requests.length}`),
      ...found.requests.map((each, at) =>
        item(
          each,
          `request ${count(found.requests, at)}`,
          `Request ${count(found.requests, at)}: ${brief(new URL(each.url).pathname, 60)}`,
        ),
      ),
    );
  } catch (error) {
    if (!signal.aborted) drawer.replaceChildren(h("p", { class: "error" }, error.message));
  }
}

function another(choose) {
  const field = h("input", { id: "another", size: "14", placeholder: "+49 30 901820", inputmode: "tel" });
  return h(
    "form",
    {
      class: "actions",
      onsubmit: (submitted) => {
        submitted.preventDefault();
        const digits = field.value.replace(/[^0-9+]/g, "");
        if (/^\+[0-9]{7,15}$/.test(digits)) choose({ user: digits });
        else say("A phone is written as + and 7 to 15 digits.", true);
      },
    },
    h("label", { for: "another" }, "Somebody else"),
    field,
    h("button", { type: "submit" }, "Be them"),
  );
}

function chooser(label, names, at, chosen) {
  const id = `choose-${label.replaceAll(" ", "-").toLowerCase()}`;
  return [
    h("label", { for: id }, label),
    h(
      "select",
      { id, onchange: ({ target }) => chosen(Number(target.value)) },
      names.map((each, value) => h("option", { value, selected: value === at }, each)),
    ),
  ];
}

function nameOf(phone) {
  const names = [phone.adapter, phone.channel === phone.adapter ? null : phone.channel];
  return brief([...names, phone.name ?? phone.account].filter(Boolean).join(" · "), 60);
}

function userName(user, phone) {
  return user === phone.user_id ? "somebody who hides their phone" : user;
}
