// Queries as text.

/** A value as a query has it. */
export function quoted(value: string): string {
  if (/^[\p{L}\p{N}_./@+%,=#][\p{L}\p{N}_./@+%,=#-]*$/u.test(value)) return value;
  return `"${value.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}

/** The query with one more condition, or without it where it has it. */
export function toggled(query: string, field: string, value: string, not: boolean): string {
  const condition = `${field}:${quoted(value)}`;
  const words = query.trim();
  const asked = not ? `-${condition}` : condition;
  if (words === asked) return "";
  if (words.endsWith(` ${asked}`)) return words.slice(0, -asked.length - 1);
  const grouped = /\bOR\b/.test(words) && !/^\([^()]*\)$/.test(words) ? `(${words})` : words;
  return grouped ? `${grouped} ${asked}` : asked;
}

/** A place in bytes as one in characters of JavaScript. */
export function charAt(text: string, byte: number): number {
  return new TextDecoder().decode(new TextEncoder().encode(text).slice(0, byte)).length;
}

export const byteAt = (text: string, char: number): number => new TextEncoder().encode(text.slice(0, char)).length;

export const RANGES: Record<string, number> = { "15m": 9e5, "1h": 36e5, "4h": 144e5, "1d": 864e5, "7d": 6048e5, all: 0 };
