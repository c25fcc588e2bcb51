// Numbers and times for people.

import type { Event, Fields, Json } from "./api";

const NUMBER = new Intl.NumberFormat("en");

export const count = (n: number): string => NUMBER.format(n);

export function bytes(n: number): string {
  const units = ["B", "KiB", "MiB", "GiB"];
  let at = 0;
  while (n >= 1024 && at < units.length - 1) {
    n /= 1024;
    at += 1;
  }
  return `${at === 0 ? n : n.toFixed(1)} ${units[at]}`;
}

export function nanoseconds(n: number): string {
  if (n < 1000) return `${Math.round(n)} ns`;
  if (n < 1e6) return `${(n / 1e3).toFixed(1)} µs`;
  if (n < 1e9) return `${(n / 1e6).toFixed(1)} ms`;
  return `${(n / 1e9).toFixed(1)} s`;
}

const two = (n: number): string => String(n).padStart(2, "0");

/** In the browser's time zone; with the day where it is another one than today's. */
export function time(ms: number): string {
  const at = new Date(ms);
  const clock = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${String(at.getMilliseconds()).padStart(3, "0")}`;
  const day = `${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return new Date().toDateString() === at.toDateString() ? clock : `${day} ${clock}`;
}

export const full = (ms: number): string => new Date(ms).toISOString();

export function ago(ms: number): string {
  const seconds = Math.max(0, Math.round((Date.now() - ms) / 1000));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} d ago`;
}

/** A value below an object, by its path. */
export function at(value: Json | undefined, path: string): Json | undefined {
  let found: Json | undefined = value;
  for (const key of path.split(".")) {
    if (found === null || typeof found !== "object" || Array.isArray(found)) return undefined;
    found = found[key];
  }
  return found;
}

export function text(value: Json | undefined, path: string): string {
  const found = at(value, path);
  return found === undefined || found === null || typeof found === "object" ? "" : String(found);
}

export interface Line { status: string; type: string; rule: string; who: string; what: string; host: string }

/** An event in a line. */
export function line(event: Event): Line {
  const document = event.document;
  const message = (typeof document["message"] === "object" ? document["message"] : {}) as Fields;
  const type = text(message, "evt.name");
  const comm = text(message, "process.comm");
  const pid = text(message, "process.pid");
  const destination = [text(message, "network.destination.ip"), text(message, "network.destination.port")].filter(Boolean).join(":");
  const args = at(message, "process.args");
  const command = [text(message, "process.argv0") || comm, ...(Array.isArray(args) ? args.map(String) : [])].join(" ");
  const what =
    (type === "exec" && command) ||
    text(message, "dns.question.name") ||
    text(message, "file.path") ||
    destination ||
    text(message, "title") ||
    text(message, "agent.rule_id") ||
    (typeof document["message"] === "string" ? document["message"] : "");
  return {
    status: text(document, "status") || "info",
    type: type || "agent",
    rule: text(message, "agent.rule_id"),
    who: comm ? `${comm}(${pid})` : "",
    what,
    host: text(document, "hostname"),
  };
}
