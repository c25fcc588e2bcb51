// The API of security-agent; `openapi.json` describes it.

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type Fields = { [key: string]: Json };

export interface Event { id: string; timestamp: number; document: Fields }
export interface Page { events: Event[]; total: number; total_exact: boolean; complete: boolean; next: string | null; took_ms: number }
export interface FacetValue { value: string; count: number }
export interface Facet { field: string; title: string; values: FacetValue[]; other: number }
export interface Bucket { at: number; count: number; by_status: Record<string, number> }
export interface Timeline { from: number; to: number; interval_ms: number; buckets: Bucket[]; complete: boolean }
export interface Suggestion { text: string; kind: string; description: string }
export interface Suggested { start: number; end: number; suggestions: Suggestion[] }
export interface Node {
  pid: number; ppid: number; comm: string; path: string; args: string; user: string; uid: number | null;
  on_path: boolean; is_event_process: boolean; alive: boolean | null; container: string;
}
export interface Tree { nodes: Node[]; path: number[]; live: boolean; note: string | null }
export interface ContextEvent { timestamp: number; event_type: string; pid: number; comm: string; path: string; relation: string; summary: string }
export interface Context { seconds: number; available: boolean; truncated: boolean; events: ContextEvent[] }
export interface Rule {
  id: string; policy: string; description: string; expression: string; event_type: string; tags: string[]; state: string; reason: string;
  hits: number; rate_limited: number; evaluations: number; cost_ns: number; stored: number;
}
export interface TestRow { rule_id: string; event_type: string; seen: boolean; latency_ms: number; error: string }
export interface SelfTest { ok: boolean; error: string; tests: TestRow[]; started: number; query: string }
export interface View { id: number; name: string; query: string; range: string; created: number }

export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly hint: string | null = null,
    readonly position: { start: number; end: number } | null = null,
  ) {
    super(message);
  }
}

const KEY = "atalaya-session";
const BASE = "api/v1";
let signedOut: () => void = () => {};

/** Who is told that there is no session any more. */
export function onSignedOut(listener: () => void): void {
  signedOut = listener;
}

export function hasSession(): boolean {
  return sessionStorage.getItem(KEY) !== null;
}

type Parameters = Record<string, string | number | undefined | null>;

async function send(method: string, path: string, parameters: Parameters, body?: Json, signal?: AbortSignal): Promise<Response> {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== null && value !== "") query.set(name, String(value));
  }
  const headers: Record<string, string> = {};
  const session = sessionStorage.getItem(KEY);
  if (session) headers["Authorization"] = `Bearer ${session}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const init: RequestInit = { method, headers, cache: "no-store", credentials: "omit" };
  if (body !== undefined) init.body = JSON.stringify(body);
  if (signal) init.signal = signal;
  let response: Response;
  try {
    response = await fetch(`${BASE}${path}?${query}`, init);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError("security-agent does not answer", 0, "is it running, and this address still its own?");
  }
  if (response.ok) return response;
  const answer = await response.json().catch(() => null);
  const told = answer?.error ?? { message: `HTTP ${response.status}` };
  if (response.status === 401 && path !== "/session") {
    sessionStorage.removeItem(KEY);
    signedOut();
  }
  throw new ApiError(told.message, response.status, told.hint, told.position);
}

export async function get<T>(path: string, parameters: Parameters = {}, signal?: AbortSignal): Promise<T> {
  return (await send("GET", path, parameters, undefined, signal)).json();
}

export async function post<T>(path: string, body?: Json): Promise<T> {
  return (await send("POST", path, {}, body)).json();
}

export async function remove(path: string): Promise<void> {
  await send("DELETE", path, {});
}

/** Trades the token of the address for a session. */
export async function signIn(token: string): Promise<void> {
  const { session } = await post<{ session: string }>("/session", { token });
  sessionStorage.setItem(KEY, session);
}

export interface TailHandlers { event: (event: Event) => void; lag: (skipped: number) => void; state: (connected: boolean) => void }

/** Events as they come, until `signal`; connects again when the stream ends. */
export async function tail(query: string, on: TailHandlers, signal: AbortSignal): Promise<void> {
  let pause = 500;
  while (!signal.aborted) {
    try {
      const response = await send("GET", "/tail", { query }, undefined, signal);
      const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
      on.state(true);
      pause = 500;
      let rest = "";
      for (;;) {
        const read = await reader?.read();
        if (!read || read.done) break;
        rest += read.value;
        const parts = rest.split("\n\n");
        rest = parts.pop() ?? "";
        for (const part of parts) {
          const lines = part.split("\n");
          const kind = lines.find((line) => line.startsWith("event:"))?.slice(6).trim();
          const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).join("\n");
          if (kind === "event") on.event(JSON.parse(data));
          if (kind === "lag") on.lag(JSON.parse(data).skipped);
        }
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiError && error.status >= 400 && error.status < 500) throw error;
    }
    on.state(false);
    await new Promise((done) => setTimeout(done, pause));
    pause = Math.min(pause * 2, 10_000);
  }
}
