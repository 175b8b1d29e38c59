// The address says what is shown: `#/view/argument?filters`. Its part after the `#` reaches no
// server and no log.

import { SignIn, get, session } from "./api.js";
import { chat } from "./chat.js";
import { h, say } from "./dom.js";
import { dead } from "./dead.js";
import { conversation, event } from "./event.js";
import { events } from "./events.js";
import { playground } from "./playground.js";
import { outbox, sources, subscribers } from "./standing.js";
import { unrecognized } from "./unrecognized.js";

const VIEWS = {
  events: ["Events", events],
  subscribers: ["Subscribers", subscribers],
  dead: ["Dead letters", dead],
  unrecognized: ["Unrecognized", unrecognized],
  outbox: ["Outbox", outbox],
  sources: ["Sources", sources],
  playground: ["Playground", playground],
  chat: ["Chat", chat],
  event: ["Event", event, "events"],
  conversation: ["Conversation", conversation, "events"],
};

const main = document.getElementById("main");
const nav = document.getElementById("views");
const personal = document.getElementById("personal");
const signOut = document.getElementById("sign-out");
let leaving = new AbortController();
let isAsked = false;

for (const [name, [title, , within]] of Object.entries(VIEWS)) {
  const isHidden = name === "chat";
  if (!within) nav.append(h("a", { href: `#/${name}`, "data-view": name, hidden: isHidden }, title));
}

function place() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, argument] = path.split("/");
  const known = Object.hasOwn(VIEWS, name) ? name : "events";
  return { name: known, argument, filters: Object.fromEntries(new URLSearchParams(query)) };
}

async function show(isMove = false) {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const { name, argument, filters } = place();
  const [title, view, within] = VIEWS[name];
  document.title = `${title} · incs-bridge`;
  for (const link of nav.children) {
    if (link.dataset.view === (within ?? name)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  personal.parentElement.hidden = false;
  nav.hidden = false;
  signOut.hidden = !session.isSignedIn;
  personal.checked = session.isShown;
  const root = h("div", { class: `view ${name}` }, h("h1", { tabindex: "-1", dir: "auto" }, title));
  main.replaceChildren(root);
  if (isMove) root.firstChild.focus(); // who does not see the page hears where they are
  try {
    if (!isAsked) {
      // Only a server that is developed on has a phone.
      nav.querySelector('[data-view="chat"]').hidden = !(await get("/status", {}, { signal })).chat;
      isAsked = true;
    }
    await view({ root, argument, filters, signal, again: () => show() });
  } catch (error) {
    if (signal.aborted) return;
    if (error instanceof SignIn) askForToken(error.message);
    else root.append(h("p", { class: "error", role: "alert" }, `${error.message}`));
  }
}

function askForToken(problem) {
  leaving.abort();
  session.signOut();
  nav.hidden = signOut.hidden = personal.parentElement.hidden = true;
  document.title = "Sign in · incs-bridge";
  const field = h("input", {
    id: "token",
    type: "password",
    autocomplete: "off",
    required: true,
    "aria-describedby": "about-token",
  });
  const form = h(
    "form",
    {
      class: "sign-in",
      onsubmit: (submitted) => {
        submitted.preventDefault();
        session.signIn(field.value.trim());
        show();
      },
    },
    h("h1", null, "Sign in"),
    h("label", { for: "token" }, "Token"),
    field,
    h("p", { id: "about-token" }, "The token of [admin] in the server's configuration."),
    problem ? h("p", { class: "error", role: "alert" }, problem) : null,
    h("button", { type: "submit" }, "Sign in"),
  );
  main.replaceChildren(form);
  field.focus();
}

personal.addEventListener("change", () => {
  session.show(personal.checked);
  show();
});
signOut.addEventListener("click", () => askForToken(""));
window.addEventListener("hashchange", () => {
  if (!location.hash.startsWith("#/") && location.hash !== "") return; // the link that skips
  say("");
  show(true);
});
show();
