// The page's words, and numbers, dates and sizes as its language writes them.

const words = JSON.parse(document.getElementById("words").textContent);
export const language = document.documentElement.lang;

/** A text by its name, its {places} filled; the name itself where there is none. */
export function t(name, values = {}) {
  const text = words[name] ?? name;
  return text.replace(/\{(\w+)\}/g, (whole, key) => (key in values ? values[key] : whole));
}

/** Whether the page has a text of this name. */
export const has = (name) => name in words;

/** A stable word of the API's (a reason, a warning, a region, an action) in the page's language. */
export const named = (kind, word) =>
  has(`${kind}_${word}`) ? t(`${kind}_${word}`) : String(word).replaceAll("_", " ");

/** What can be done about a file that was refused or not read. The API's own line, which knows
    more, is English; it may begin with the file's name. */
export function advice(reason, error, name = "") {
  if (language === "en" && error) {
    const line = error.startsWith(`${name}: `) ? error.slice(name.length + 2) : error;
    return line[0].toUpperCase() + line.slice(1);
  }
  return t(has(`advice_${reason}`) ? `advice_${reason}` : "advice_unreadable");
}

/** A reason's meaning; one that these pages do not know says only that the file cannot be read. */
export const why = (reason) => t(has(`reason_${reason}`) ? `reason_${reason}` : "reason_unreadable");

/** Who did something, where it may have been nobody with a name. */
export const person = (name) => (name === "local" ? t("local_user") : name);

const decimals = new Map();
function format(digits) {
  if (!decimals.has(digits)) {
    const shape = { minimumFractionDigits: digits, maximumFractionDigits: digits };
    decimals.set(digits, new Intl.NumberFormat(language, shape));
  }
  return decimals.get(digits);
}
export const number = (value, digits = 0) => format(digits).format(value);
export const percent = (share) =>
  new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 0 }).format(share);

/** As exact as kirik's command line and reports tell it: with fewer digits a value may look like the
    operating point that it lies beside. 0.9997 is not 1: it never rounds to certainty. */
export function probability(value, digits = 3) {
  const least = 10 ** -digits;
  return number(Math.min(Math.max(value, value > 0 ? least : 0), value < 1 ? 1 - least : 1), digits);
}

const UNITS = [
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60],
];
const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" });
const exact = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });
const daily = new Intl.DateTimeFormat(language, { dateStyle: "medium" });

export const date = (text) => (text ? exact.format(new Date(text)) : "–");
export const day = (text) => (text ? daily.format(new Date(text)) : "–");

/** "5 min. ago" for what is younger than a week, else its date. */
export function ago(text) {
  const seconds = (Date.now() - new Date(text)) / 1000;
  if (seconds < 45) return t("just_now");
  if (seconds > 7 * 86400) return day(text);
  const [unit, length] = UNITS.find(([, length]) => seconds >= length) ?? UNITS[2];
  return relative.format(-Math.max(1, Math.round(seconds / length)), unit);
}

export function bytes(count) {
  let power = 0;
  while (count >= 1000 && power < 4) [count, power] = [count / 1000, power + 1];
  return `${number(count, power && count < 100 ? 1 : 0)} ${["B", "kB", "MB", "GB", "TB"][power]}`;
}
