// The reading room's API, version 1, with the session's cookie.

import { has, language, t } from "./words.js";

const ROOT = "/api/v1";

/** What the API refused: a status, a stable word, and a line for a person. */
export class Refusal extends Error {
  constructor(status, problem = {}) {
    super(inWords(status, problem));
    Object.assign(this, { status, reason: problem.reason ?? "" });
  }
}

/** The API's own line is English; other languages say what its stable words mean. */
export function inWords(status, { detail, title, code, reason } = {}) {
  if (language === "en" && (detail || title)) return detail || title;
  const names = [`problem_${code}`, `problem_${reason}`, `reason_${reason}`];
  return t(names.find(has) ?? "error_status", { status });
}

/** Headers that show that a request comes from these pages. */
export function own() {
  const cookie = document.cookie.match(/(?:^|; )kirik_csrf=([^;]+)/);
  return { "X-Requested-With": "kirik", ...(cookie ? { "X-CSRF-Token": decodeURIComponent(cookie[1]) } : {}) };
}

const leaving = [];

/** To the sign-in page, and back here afterwards. */
export function signIn() {
  if (location.pathname === "/login") return;
  for (const putBy of leaving) putBy();
  location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
}

/** putBy: called before the page is left because nobody is signed in any more. */
export const beforeSignIn = (putBy) => leaving.push(putBy);

async function ask(method, path, body, signal) {
  const options = { method, signal, headers: { Accept: "application/json", ...(method === "GET" ? {} : own()) } };
  if (body instanceof FormData) options.body = body;
  else if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  let answer;
  try {
    answer = await fetch(ROOT + path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, { reason: "offline" });
  }
  const said = answer.status === 204 ? null : await answer.json().catch(() => null);
  if (answer.ok) return said;
  if (answer.status === 401 && path !== "/session") signIn();
  throw new Refusal(answer.status, said ?? {});
}

export const get = (path, signal) => ask("GET", path, undefined, signal);
export const post = (path, body = {}) => ask("POST", path, body);
export const patch = (path, body) => ask("PATCH", path, body);
export const put = (path, body) => ask("PUT", path, body);
export const remove = (path) => ask("DELETE", path);

/** The address of something that a browser loads by itself. */
export const address = (path) => ROOT + path;

/** Who is signed in: {name, role, local}; asked once a page. */
let known;
export const me = () => (known ??= get("/me"));
const RANKS = ["reader", "reviewer", "administrator"];
export const may = (person, role) => RANKS.indexOf(person.role) >= RANKS.indexOf(role);
