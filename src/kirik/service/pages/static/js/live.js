// Studies as they change, by server-sent events. A tab that nobody looks at lets go of its
// connection (a browser gives a host only six), and asks again when it is looked at.

import { address, get } from "./api.js";
import { $ } from "./dom.js";
import { t } from "./words.js";

/** listeners: {study(Study), gone({id}), counts({…}), joined()}; joined: the stream begins (again),
    and what happened before it may have been missed. */
export function listen(listeners) {
  let source = null;
  let joined = false;
  let resting;

  function start() {
    if (source) return;
    source = new EventSource(address("/events"));
    for (const name of ["study", "gone", "counts"]) {
      source.addEventListener(name, (event) => {
        // The server tells the counts as soon as it listens for us: from then on nothing is missed.
        if (!joined) listeners.joined?.();
        joined = true;
        listeners[name]?.(JSON.parse(event.data));
      });
    }
    source.onopen = () => {
      joined = false;
      show(false);
    };
    source.onerror = () => {
      show(true);
      if (source?.readyState === EventSource.CLOSED) {
        stop();
        // No reason is told here. Whose session has ended is led to the sign-in by asking for anything.
        get("/me").catch(() => {});
        setTimeout(() => !document.hidden && start(), 5000);
      }
    };
  }

  function stop() {
    source?.close();
    source = null;
  }

  function show(isLost) {
    $("#connection").textContent = isLost ? t("connection_lost") : "";
  }

  document.addEventListener("visibilitychange", () => {
    clearTimeout(resting);
    if (document.hidden) {
      resting = setTimeout(stop, 30_000);
    } else start();
  });
  addEventListener("pagehide", stop);
  addEventListener("pageshow", (event) => event.persisted && start());
  start();
}
