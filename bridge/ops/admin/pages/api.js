// What the server is asked. The token is in memory and in this tab's session storage, and goes
// out in a header, never in an address.

const KEY = "incs-bridge token";
const FIRST_PAUSE = 200;
const LONGEST_PAUSE = 5000;

let token = sessionStorage.getItem(KEY);
let isShown = false;

/** The server wants a token, or another one. */
export class SignIn extends Error {}

export const session = {
  get isSignedIn() {
    return token !== null;
  },
  get isShown() {
    return isShown;
  },
  /** Show or mask personal data from now on; the server records that it is shown. */
  show(value) {
    isShown = value;
  },
  signIn(value) {
    token = value;
    sessionStorage.setItem(KEY, value);
  },
  signOut() {
    token = null;
    isShown = false;
    sessionStorage.removeItem(KEY);
  },
};

function target(path, parameters) {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters ?? {})) {
    for (const each of [value].flat()) {
      if (each != null && each !== "") given.append(name, each);
    }
  }
  const query = given.toString();
  return query ? `${path}?${query}` : path;
}

async function ask(path, options = {}) {
  const headers = { Accept: "application/json", ...options.headers };
  if (token !== null) headers.Authorization = `Bearer ${token}`;
  const response = await fetch(path, { cache: "no-store", ...options, headers });
  if (response.status === 401) throw new SignIn(token === null ? "" : "This token is not accepted.");
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    throw new Error(problem.detail ?? `the server answered ${response.status}`);
  }
  return response;
}

/** Get what may hold personal data, masked unless one asked for it. */
export async function get(path, parameters, options) {
  const masked = !(options?.isShown ?? isShown);
  const response = await ask(target(path, { ...parameters, masked }), { signal: options?.signal });
  return response.json();
}

export async function post(path, body, options) {
  const request = { method: "POST", body: JSON.stringify(body), signal: options?.signal };
  return (await ask(path, request)).json();
}

/** Get a file, which may hold personal data. */
export async function getFile(path, parameters, options) {
  return (await ask(target(path, { ...parameters, masked: false }), options)).blob();
}

/** Post a file as it is. */
export async function postFile(path, parameters, bytes) {
  return (await ask(target(path, parameters), { method: "POST", body: bytes })).json();
}

/** Return how to ask for the same from a shell. */
export function curl(path, parameters) {
  const header = token === null ? "" : '-H "Authorization: Bearer $BRIDGE_ADMIN_TOKEN" ';
  return `curl ${header}'${location.origin}${target(path, parameters)}'`;
}

/** Follow events from a position until aborted; go on without a gap where the stream breaks. */
export async function follow(parameters, after, signal, { entry, gap, state }, options) {
  const masked = !(options?.isShown ?? isShown);
  let position = after;
  let pause = 0;
  while (!signal.aborted) {
    let isOurs = false; // an error of the page's own, which no other connection mends
    try {
      const path = target("/events/follow", { ...parameters, after: position, masked });
      const response = await ask(path, { signal, headers: { Accept: "text/event-stream" } });
      for await (const [name, data] of events(response.body)) {
        isOurs = true;
        if (pause !== null) state("live");
        pause = null;
        if (name === "position") position = data.position;
        else if (name === "gap") gap(data);
        else {
          entry(data);
          position = data.position; // the stream may break before it says so itself
        }
        isOurs = false;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (isOurs || error instanceof SignIn) throw error;
    }
    if (signal.aborted) return;
    state("waiting for the server");
    pause = Math.min(Math.max(2 * (pause ?? 0), FIRST_PAUSE), LONGEST_PAUSE);
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const [, name, data] = /^event: (\w+)\ndata: (.*)$/s.exec(block); // s: also U+2028
      yield [name, JSON.parse(data)];
    }
  }
}
