// What was begun and not kept when a session ended: held by this tab alone, until the same person is
// back. Signing out empties all of it.

const KEY = "kirik-draft";

const placeOf = (...names) => [KEY, ...names].map(encodeURIComponent).join("/");

/** Put by what somebody has said of a study's frame; whether there was room for it. */
export function putBy(name, study, frame, said) {
  try {
    sessionStorage.setItem(placeOf(name, study, frame), JSON.stringify(said));
    return true;
  } catch {
    return false;
  }
}

/** What somebody had put by of a study, [frame, said] each; it lies here no more. */
export function takeUp(name, study) {
  const found = [];
  for (const key of all(placeOf(name, study, ""))) {
    found.push([Number(key.split("/").at(-1)), JSON.parse(sessionStorage.getItem(key))]);
    sessionStorage.removeItem(key);
  }
  return found;
}

/** Leave nothing that anybody else than this person had put by. */
export function forgetOthers(name) {
  for (const key of all(placeOf(""))) if (!key.startsWith(placeOf(name, ""))) sessionStorage.removeItem(key);
}

const all = (start) => Object.keys(sessionStorage).filter((key) => key.startsWith(start));
