// Mouse, pen and fingers on the stage. One finger or the left button does what the mode says, the
// right button always windows, the middle one moves, the wheel zooms, two fingers zoom and move.

/** stage: the element. act: {mode(), pan, zoom, window, press, drag, release, fit, settled}. */
export function gestures(stage, act) {
  const pointers = new Map();
  let doing = null;

  const place = (event) => {
    const area = stage.getBoundingClientRect();
    return [event.clientX - area.left, event.clientY - area.top];
  };

  const meant = (event) => ({ 1: "move", 2: "window" })[event.button] ?? act.mode();

  stage.addEventListener("pointerdown", (event) => {
    if (event.target.closest("button, input")) return;
    stage.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, place(event));
    if (pointers.size === 2) {
      if (doing === "box") act.release();
      doing = "pinch";
    } else if (pointers.size === 1) {
      doing = meant(event);
      if (doing === "box") act.press(...place(event), event.target);
    }
    stage.dataset.doing = doing;
  });

  stage.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const now = place(event);
    if (doing === "pinch") pinch(event.pointerId, before, now);
    else if (doing === "move") act.pan(now[0] - before[0], now[1] - before[1]);
    else if (doing === "window") act.window(now[0] - before[0], now[1] - before[1]);
    else if (doing === "box") act.drag(...now);
    pointers.set(event.pointerId, now);
  });

  function pinch(id, before, now) {
    const other = [...pointers].find(([key]) => key !== id)?.[1];
    if (!other) return;
    const apart = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]) || 1;
    act.zoom(apart(now) / apart(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    act.pan((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
  }

  function end(event) {
    if (!pointers.delete(event.pointerId)) return;
    if (pointers.size) {
      doing = "rest"; // the second finger of a pinch neither moves nor draws
    } else {
      if (doing === "box") act.release();
      doing = null;
      delete stage.dataset.doing;
      act.settled();
    }
  }
  stage.addEventListener("pointerup", end);
  stage.addEventListener("pointercancel", end);

  stage.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 16 : 1;
      act.zoom(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0016)), ...place(event));
      act.settled();
    },
    { passive: false },
  );
  stage.addEventListener("contextmenu", (event) => event.preventDefault());
  stage.addEventListener("dblclick", () => act.mode() === "box" || act.fit());
}
