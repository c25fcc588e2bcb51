// Where one is: in the address, so that Back works and a link can be shared.

export interface Place { view: string; q: string; range: string; from: number; to: number; id: string; tab: string; filter: string }

function read(): Place {
  const [path = "", search = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const parameters = new URLSearchParams(search);
  const view = ["events", "rules", "health"].includes(path) ? path : "events";
  return {
    view,
    q: parameters.get("q") ?? "",
    range: parameters.get("range") ?? "1h",
    from: Number(parameters.get("from") ?? 0),
    to: Number(parameters.get("to") ?? 0),
    id: parameters.get("id") ?? "",
    tab: parameters.get("tab") ?? "",
    filter: parameters.get("filter") ?? "",
  };
}

export const place = $state<Place>(read());

addEventListener("hashchange", () => Object.assign(place, read()));

export function address(to: Partial<Place>): string {
  const next: Place = { ...$state.snapshot(place), ...to };
  const parameters = new URLSearchParams();
  if (next.view === "events") {
    if (next.q) parameters.set("q", next.q);
    if (next.range !== "1h") parameters.set("range", next.range);
    if (next.range === "custom") {
      parameters.set("from", String(Math.round(next.from)));
      parameters.set("to", String(Math.round(next.to)));
    }
    if (next.id) parameters.set("id", next.id);
    if (next.id && next.tab) parameters.set("tab", next.tab);
  }
  if (next.view === "rules" && next.filter) parameters.set("filter", next.filter);
  const search = parameters.toString();
  return `#/${next.view}${search ? `?${search}` : ""}`;
}

/** Goes there. `quietly`: without a step in the history. */
export function go(to: Partial<Place>, quietly = false): void {
  const hash = address(to);
  if (hash === location.hash) return;
  history[quietly ? "replaceState" : "pushState"](null, "", hash);
  Object.assign(place, read());
}
