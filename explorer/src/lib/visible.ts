// Texts that somebody else wrote: what would not be seen, or would change how the rest is seen, is written out.

export interface Part { text: string; special: boolean }

// Control characters, and those of Unicode that have no form or turn the direction.
const SPECIAL = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]+/gu;

export function visible(text: string): Part[] {
  const parts: Part[] = [];
  let last = 0;
  for (const found of text.matchAll(SPECIAL)) {
    if (found.index > last) parts.push({ text: text.slice(last, found.index), special: false });
    const written = Array.from(found[0], (c) => `\\u${(c.codePointAt(0) ?? 0).toString(16).padStart(4, "0")}`);
    parts.push({ text: written.join(""), special: true });
    last = found.index + found[0].length;
  }
  if (last < text.length) parts.push({ text: text.slice(last), special: false });
  return parts;
}

/** The same for where there is only text: titles, labels, pictures. */
export const plain = (text: string): string => visible(text).map((part) => part.text).join("");
