"use strict";
// Daemon: its interface under v1/, and its stream of events, with the token in a header alone.

const TOKEN = "streamnet-token";
const LONGEST_LINE = 1 << 20; // characters of an event; longer ones are an error
const SILENCE = 45000; // milliseconds without a byte, heartbeats included, until a new connection
const SOONEST = 1000;
const LATEST = 30000; // milliseconds between two attempts

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

  async get(path, signal) {
    return (await this.answer(path, { headers: this.headers(), signal })).json();
  }

  /** Null if the model has nothing to say yet. */
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
      await this.answer(path, { method: "POST", headers, body: JSON.stringify(body) })
    ).json();
  }

  async bytes(path) {
    return (await this.answer(path, { headers: this.headers() })).blob();
  }

  /** A response that is fine. Addresses are relative, so that the page works below any prefix. */
  async answer(path, options) {
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

/** How long to wait before attempt n, with chance in it so that many pages don't come at once. */
function backoff(attempt) {
  return Math.min(LATEST, SOONEST * 2 ** attempt) * (0.5 + 0.5 * Math.random());
}

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done); // one for each look would be many in a month
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener("abort", done);
  });
}

/**
 * Server-sent events by fetch, since EventSource can't send a token. It resumes after the last
 * event that it has seen, and tries again for as long as it isn't aborted.
 */
class EventReader {
  constructor(daemon, path, { event, connected, lost }) {
    this.daemon = daemon;
    this.path = path;
    this.tell = { event, connected, lost };
    this.last = "0"; // before all that the daemon still keeps
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
      const response = await this.daemon.answer(this.path, {
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

  /** What was missed before the first event is no gap to a reader who has just come. */
  take(id, data) {
    const event = JSON.parse(data);
    if (event.kind !== "gap" || this.last !== "0") this.tell.event(event);
    if (id !== null) this.last = id;
  }
}

/** Lines of text/event-stream to events, as WHATWG HTML 9.2.6 tells; comments are heartbeats. */
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
