// Numbers as text, as `flaskd_ctl` writes them. What is not known is "-".

const MIB = 1024 * 1024;
const DAY = 86_400;

const known = (value) => typeof value === "number" && Number.isFinite(value);

/** A number with `digits` significant digits, without trailing zeros. */
function significant(value, digits) {
  return String(Number(value.toPrecision(digits)));
}

/** A value as it is. */
export const plain = (value) => (value === null || value === undefined || value === "" ? "-" : String(value));

/** A count, with thin spaces between thousands. */
export const whole = (value) => (known(value) ? value.toLocaleString("en").replaceAll(",", "\u202f") : "-");

/** A duration with three digits: 0.585 ms, 1.05 s. */
export function fine(seconds) {
  if (!known(seconds)) return "-";
  if (seconds > 0 && seconds < 0.9995) return `${significant(1000 * seconds, 3)} ms`;
  return seconds > 0 && seconds < 100 ? `${significant(seconds, 3)} s` : span(seconds);
}

/** A duration with its two largest units: 0.42 s, 12 s, 3 min 20 s, 5 h 2 min. */
export function span(seconds) {
  if (!known(seconds)) return "-";
  if (seconds < 0.0995) return `${Math.round(Math.max(seconds, 0) * 1000)} ms`;
  if (seconds < 10) return `${significant(seconds, 2)} s`;
  const rounded = Math.round(seconds);
  if (rounded < 120) return `${rounded} s`;
  const [size, unit, smaller, less] =
    rounded < 3600 ? [60, "min", 1, "s"] : rounded < DAY ? [3600, "h", 60, "min"] : [DAY, "d", 3600, "h"];
  const rest = Math.floor((rounded % size) / smaller);
  return `${Math.floor(rounded / size)} ${unit}${rest ? ` ${rest} ${less}` : ""}`;
}

/** A rate: 0, 0.25, 12.3, 1234. */
export function rate(value) {
  if (!known(value)) return "-";
  if (value === 0) return "0";
  return value < 1 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : whole(Math.round(value));
}

export const percent = (value) => (known(value) ? `${value.toFixed(0)} %` : "-");

/** Bytes in MiB, without the unit. */
export const mebibytes = (bytes) => (known(bytes) ? whole(Math.round(bytes / MIB)) : "-");

/** A time of day in the reader's time zone, with the date if it is another day. */
export function clock(at) {
  if (!known(at)) return "-";
  const time = new Date(at * 1000);
  const day = Math.abs(Date.now() / 1000 - at) < DAY ? "" : `${time.toLocaleDateString("sv")} `;
  return day + time.toLocaleTimeString("sv");
}

/** Hours and minutes. */
export const minutes = (at) =>
  new Date(at * 1000).toLocaleTimeString("sv", { hour: "2-digit", minute: "2-digit" });

/** A count with its noun: 1 request, 2 requests. */
export const count = (number, thing) => `${whole(number)} ${thing}${number === 1 ? "" : "s"}`;

/** Messages, which end without a stop in a terminal, one after the other. */
export function sentences(...messages) {
  const known = messages.filter(Boolean).map((message) => message.trim());
  return known.map((message) => (/[.!?…]$/.test(message) ? message : `${message}.`)).join(" ");
}
