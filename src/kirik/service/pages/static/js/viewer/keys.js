// Keys of the viewer. Single letters can be switched off (WCAG 2.1.4), and are then not taken.

const KEY = "kirik-keys";
const SAME = { ı: "i", İ: "i", "−": "-", "=": "+", "*": "+" }; // on a Turkish keyboard, i has two keys

export const keysOn = () => localStorage.getItem(KEY) !== "off";
export const setKeys = (on) => localStorage.setItem(KEY, on ? "on" : "off");

/** actions: by key ("r", "Shift+R", "ArrowLeft", "Ctrl+Enter"), called with the event. */
export function keys(actions) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.altKey || event.metaKey || document.querySelector("dialog[open]")) return;
    const typing = event.target.closest("textarea, select, input:not([type=checkbox], [type=radio])");
    const letter =
      (SAME[event.key] ?? event.key).length === 1 ? (SAME[event.key] ?? event.key).toLowerCase() : event.key;
    const isLetter = letter.length === 1;
    const moving = event.target.closest("input, [role=radiogroup]") && event.key.startsWith("Arrow");
    const name = `${event.ctrlKey ? "Ctrl+" : ""}${event.shiftKey && (!isLetter || /[a-z]/.test(letter)) ? "Shift+" : ""}${letter}`;
    if (!(name in actions) || moving || (typing && !event.ctrlKey) || (isLetter && !event.ctrlKey && !keysOn())) return;
    event.preventDefault();
    actions[name](event);
  });
}
