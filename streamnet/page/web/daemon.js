"use strict";
// The daemon's API under v1/ and its event stream; the token is sent only in a header.

const TOKEN = "streamnet-token";
const LONGEST_LINE = 1 << 20; // characters of an event; longer ones are an error
const SILENCE = 45000; // milliseconds without a byte or heartbeat before reconnecting
const SOONEST = 1000;
const LATEST = 30000; // milliseconds between attempts

class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }

  get forToken() {
    return this.status === 401 || this.status === 403;
  }
}

class Daemon {
  get token() {
    return sessionStorage.getItem(TOKEN);
  }

  set token(value) {
    sessionStorage.setItem(TOKEN, value);
  }

  headers(more = {}) {
    return this.token ? { ...more, Authorization: `Bearer ${this.token}` } : more;
  }

  /** A view, which all open pages may share for as long as a page waits before it asks again. */
  async get(path, signal) {
    const headers = this.headers({ "Cache-Control": "max-age=2" });
    return (await this.fetch(path, { headers, signal })).json();
  }

  /** The response, or null if the model is not ready yet. */
  async getIfReady(path, signal) {
    try {
      return await this.get(path, signal);
    } catch (error) {
      if (error instanceof Refused && error.status === 503) return null;
      throw error;
    }
  }

  async post(path, body) {
    const headers = this.headers({ "Content-Type": "application/json" });
    return (
      await this.fetch(path, { method: "POST", headers, body: JSON.stringify(body) })
    ).json();
  }

  /** Change a model, without a body. */
  async act(path) {
    await this.fetch(path, { method: "POST", headers: this.headers() });
  }

  async bytes(path) {
    return (await this.fetch(path, { headers: this.headers() })).blob();
  }

  /** Fetch a successful response. URLs are relative, so that the page works below any prefix. */
  async fetch(path, options) {
    const response = await fetch(`v1/${path}`, {
      ...options,
      cache: "no-store",
      redirect: "error",
    });
    if (!response.ok) throw new Refused(response.status, await detailOf(response));
    return response;
  }
}

async function detailOf(response) {
  const text = await response.text();
  try {
    return JSON.parse(text).detail ?? response.statusText;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return `${response.status} ${response.statusText}`;
  }
}

function modelPath(name, ...rest) {
  return ["models", encodeURIComponent(name), ...rest].join("/");
}

/** Delay before an attempt, with jitter so that many pages don't reconnect at once. */
function backoff(attempt) {
  return Math.min(LATEST, SOONEST * 2 ** attempt) * (0.5 + 0.5 * Math.random());
}

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done); // or listeners would accumulate, one per poll
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener("abort", done);
  });
}

/**
 * Server-sent events by fetch, since EventSource can't send a token. It resumes after the last
 * event that it has seen, and reconnects until it is aborted.
 */
class EventReader {
  constructor(daemon, path, { event, connected, lost }) {
    this.daemon = daemon;
    this.path = path;
    this.tell = { event, connected, lost };
    this.last = "0"; // before all events that the daemon still keeps
    this.attempt = 0;
  }

  async follow(signal) {
    while (!signal.aborted) {
      try {
        await this.connect(signal);
        if (!signal.aborted) this.tell.lost(null);
      } catch (error) {
        if (signal.aborted) return;
        this.tell.lost(error);
        if (error.forToken) return;
      }
      await pause(backoff(this.attempt), signal);
      this.attempt += 1;
    }
  }

  async connect(signal) {
    const silence = new AbortController();
    let timer = setTimeout(() => silence.abort(), SILENCE);
    const headers = this.daemon.headers({
      Accept: "text/event-stream",
      "Last-Event-ID": this.last,
    });
    try {
      const response = await this.daemon.fetch(this.path, {
        headers,
        signal: AbortSignal.any([signal, silence.signal]),
      });
      this.tell.connected();
      const parser = new EventParser();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        clearTimeout(timer);
        timer = setTimeout(() => silence.abort(), SILENCE);
        this.attempt = 0;
        parser.feed(part.value, (id, data) => this.take(id, data));
      }
    } finally {
      clearTimeout(timer);
    }
  }

  /** Pass an event on, except for a gap before the first one: a new reader has missed nothing. */
  take(id, data) {
    const event = JSON.parse(data);
    if (event.kind !== "gap" || this.last !== "0") this.tell.event(event);
    if (id !== null) this.last = id;
  }
}

/** Parses text/event-stream (WHATWG HTML 9.2.6); comments are heartbeats. */
class EventParser {
  constructor() {
    this.rest = "";
    this.id = null;
    this.data = [];
  }

  feed(text, take) {
    const lines = (this.rest + text).split(/\r\n|\n|\r/);
    this.rest = lines.pop();
    if (this.rest.length > LONGEST_LINE) throw new Error("an event is too long");
    for (const line of lines) this.line(line, take);
  }

  line(line, take) {
    if (line === "") {
      if (this.data.length) take(this.id, this.data.join("\n"));
      this.data = [];
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "id") this.id = value;
    else if (name === "data") this.data.push(value);
  }
}
