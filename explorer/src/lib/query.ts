// Queries as text.

/** A value as a query has it. */
export function quoted(value: string): string {
  if (/^[\p{L}\p{N}_./@+%,=#][\p{L}\p{N}_./@+%,=#-]*$/u.test(value)) return value;
  return `"${value.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}

/** The parts between spaces, of which those in quotes, parentheses and brackets are none. */
function terms(query: string): string[] {
  const found: string[] = [];
  let term = "";
  let depth = 0;
  let inQuotes = false;
  for (let at = 0; at < query.length; at += 1) {
    const c = query.charAt(at);
    if (inQuotes && c === "\\") {
      term += c + query.charAt(at + 1);
      at += 1;
      continue;
    }
    if (c === '"') inQuotes = !inQuotes;
    else if (!inQuotes && "([{".includes(c)) depth += 1;
    else if (!inQuotes && ")]}".includes(c)) depth -= 1;
    if (/\s/.test(c) && !inQuotes && depth <= 0) {
      if (term) found.push(term);
      term = "";
    } else {
      term += c;
    }
  }
  if (term) found.push(term);
  return found;
}

/** The query with one more condition; without it where it has it already; with it instead of its opposite. */
export function toggled(query: string, field: string, value: string, not: boolean): string {
  const condition = `${field}:${quoted(value)}`;
  const [asked, opposite] = not ? [`-${condition}`, condition] : [condition, `-${condition}`];
  const words = query.trim();
  if (!words) return asked;
  const all = terms(words);
  // An operator is about what stands beside it, so that nothing there can be taken out alone.
  if (all.some((term) => /^(AND|OR|NOT)$/.test(term))) return all.includes("OR") ? `(${words}) ${asked}` : `${words} ${asked}`;
  const others = all.filter((term) => term !== opposite);
  const rest = others.includes(asked) ? others.filter((term) => term !== asked) : [...others, asked];
  return rest.join(" ");
}

/** A place in bytes as one in characters of JavaScript. */
export function charAt(text: string, byte: number): number {
  return new TextDecoder().decode(new TextEncoder().encode(text).slice(0, byte)).length;
}

export const byteAt = (text: string, char: number): number => new TextEncoder().encode(text.slice(0, char)).length;

export const RANGES: Record<string, number> = { "15m": 9e5, "1h": 36e5, "4h": 144e5, "1d": 864e5, "7d": 6048e5, all: 0 };
