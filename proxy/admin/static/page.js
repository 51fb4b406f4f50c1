// The page's one script: it asks /api/events and draws what that tells. Everything that came from a client or a provider goes
// into the page as text, never as markup.
"use strict";

const ASKED = Symbol("asked for the token"), KEPT = 200, SLOW_MS = 3000, QUIET_MS = 40000, MINUTE_MS = 60000;
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

let state = null, token = null, paused = false, refusedToken = false;
let lines = [];                    // newest first
const opened = new Set();          // seq of the requests whose details are shown
const rows = new Map();            // what has been drawn of each request, by seq
const cards = new Map();           // and of each provider, by name
const only = new Set();            // quick filters
let newsKey = "", drawnTo = 0;
let away = null;                   // why nothing is heard, and since when

function h(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    else node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat()) if (child !== null && child !== undefined) node.append(child);
  return node;
}

function s(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// Give `parent` these children and leave alone what is there already: a node that is replaced under the pointer loses its click.
function settle(parent, nodes) {
  nodes.forEach((node, index) => {
    if (parent.children[index] !== node) parent.insertBefore(node, parent.children[index] || null);
  });
  while (parent.children.length > nodes.length) parent.lastElementChild.remove();
}

const drawn = new Map();

// Whether `value` is another one than the last time: what is drawn anew takes away what somebody is just marking.
function fresh(name, value) {
  const key = JSON.stringify(value);
  if (drawn.get(name) === key) return false;
  drawn.set(name, key);
  return true;
}

// Words and numbers

const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
const percent = (part) => (part >= 0.995 ? "100 %" : part > 0 && part < 0.01 ? "< 1 %" : `${Math.round(part * 100)} %`);

function ms(value) {
  if (value === null || value === undefined) return "–";
  if (value < 1000) return `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
  if (value < 60000) return `${(value / 1000).toFixed(value < 10000 ? 2 : 1)} s`;
  return `${Math.floor(value / 60000)} min ${Math.round((value % 60000) / 1000)} s`;
}

const seconds = (value) => (value === null || value === undefined ? "–" : ms(value * 1000));

function left(until) {
  const s = Math.max(0, Math.round(until - Date.now() / 1000));
  return s < 90 ? `${s} s` : s < 5400 ? `${Math.round(s / 60)} min` : `${Math.round(s / 3600)} h`;
}

const ago = (since) => left(2 * Date.now() / 1000 - since);

function money(usd) {
  if (usd === null || usd === undefined) return "–";
  if (usd === 0) return "$0";
  const digits = usd >= 0.1 ? 2 : Math.min(8, 1 - Math.floor(Math.log10(usd)));
  return `$${usd.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;
}

function short(count) {
  if (count === null || count === undefined) return "–";
  if (count < 10000) return count.toLocaleString("en");
  return count < 1e6 ? `${(count / 1e3).toFixed(count < 1e5 ? 1 : 0)}k` : `${(count / 1e6).toFixed(1)}M`;
}

const upper = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const clock = (time) => new Date(time).toLocaleTimeString("en-GB");
const until = (at) => h("span", { "data-until": at }, left(at));

// What is asked and heard

async function listen() {
  for (;;) {
    let refused = "";
    try {
      refused = await once();
    } catch {
      // Not reached, or broken off: which of them does not matter here.
    }
    if (refused === ASKED) continue;
    lost(refused || "");
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}

function lost(why) {
  away = { why, since: away ? away.since : Date.now() };
  link(why ? "refused" : "offline", "bad");
  document.body.classList.add("stale");
  news();
}

async function once() {
  const stop = new AbortController();
  const answer = await fetch("/api/events", { headers: headers(), signal: stop.signal, cache: "no-store" });
  if (answer.status === 401) return ask();
  if (!answer.ok) return (await answer.json()).error;
  $("login").hidden = true;
  away = null;
  document.body.classList.remove("stale");
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  lines = [];  // it begins with those that are kept; after a restart they are others with the same numbers
  rows.clear();
  opened.clear();
  let text = "";
  // A connection that died without a word is found out by its silence.
  let watch = setTimeout(() => stop.abort(), QUIET_MS);
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return "";
      clearTimeout(watch);
      watch = setTimeout(() => stop.abort(), QUIET_MS);
      text += value;
      const events = text.split("\n\n");
      text = events.pop();
      for (const event of events) hear(event);
      draw();
    }
  } finally {
    clearTimeout(watch);
  }
}

function hear(event) {
  let name = "", data = "";
  for (const line of event.split("\n")) {
    if (line.startsWith("event: ")) name = line.slice(7);
    else if (line.startsWith("data: ")) data = line.slice(6);
  }
  if (name === "state") {
    state = JSON.parse(data);
  } else if (name === "requests") {
    lines = [...JSON.parse(data).reverse(), ...lines].slice(0, KEPT);
  }
}

const headers = (more) => ({ ...(token ? { Authorization: `Bearer ${token}` } : {}), ...more });

function ask() {
  $("login").hidden = false;
  $("main").hidden = true;
  $("refused").textContent = token ? "That is not the token." : "";
  link("token needed", "warn");
  state = null;
  away = null;
  news();
  token = null;
  sessionStorage.removeItem("fusebox-token");
  return new Promise((resolve) => {
    $("token").focus();
    $("login").onsubmit = (event) => {
      event.preventDefault();
      token = $("token").value.trim();
      $("token").value = "";
      sessionStorage.setItem("fusebox-token", token);
      resolve(ASKED);
    };
  });
}

async function order(path, body, asked) {
  if (!window.confirm(asked)) return;
  const answer = await fetch(path, { method: "POST", headers: headers({ "Content-Type": "application/json" }), body: JSON.stringify(body) });
  if (!answer.ok && answer.status !== 422) window.alert((await answer.json()).error || `it answered ${answer.status}`);
}

// Drawing

function draw() {
  if (!state) return;
  $("main").hidden = false;
  const kind = { ready: "good", draining: "warn", starting: "warn" }[state.state];
  link(state.state === "ready" ? "live" : state.state, kind);
  $("version").textContent = state.version;
  figures();
  news();
  providers();
  routes();
  targets();
  policy();
  const newer = lines.length && drawnTo ? lines.findIndex((line) => line.seq <= drawnTo) : 0;
  if (!paused && !looking()) requests();
  else if (newer) $("count").textContent = `${paused ? "paused" : "held while you look"}, ${newer < 0 ? KEPT : newer} newer`;
}

// Rows that move away under the pointer, or under a reader's cursor, cannot be used.
function looking() {
  const body = $("lines");
  return (window.matchMedia("(hover: hover)").matches && body.matches(":hover")) || body.contains(document.activeElement);
}

function link(text, kind) {
  if ($("link").textContent !== text) $("link").textContent = text;
  $("link").className = `pill ${kind}`;
}

function figures() {
  const recent = sum(state.providers, 12);
  const cost = state.targets.reduce((total, one) => total + one.cost_usd, 0) + state.mirror.cost_usd;
  $("figures").replaceChildren(
    figure(short(recent.attempts), "attempts/min"),
    failed(recent),
    figure(state.active, "under way"),
    figure(money(cost), `since ${new Date(state.started_at * 1000).toLocaleString("en-GB", { dateStyle: "short", timeStyle: "short" })}`),
  );
}

const figure = (value, label, kind) => h("span", { class: kind }, h("b", {}, String(value)), ` ${label}`);

// Of the last minute: enough failures to be told in the headline.
const ails = (recent) => recent.failures >= 3 && recent.failures / recent.attempts >= 0.1;
const failed = (recent) => figure(recent.attempts ? percent(recent.failures / recent.attempts) : "–", "failed", ails(recent) ? "ails" : null);

// The last of `points` is of the step under way, so that this agrees with what the requests and the breakers tell.
function sum(all, points) {
  let attempts = 0, failures = 0;
  for (const provider of all) for (const [tried, failed] of provider.points.slice(-points)) { attempts += tried; failures += failed; }
  return { attempts, failures };
}

const WHY = {
  failure_rate: "too many failures", streak: "failures in a row", slow_rate: "too many slow first events",
  probe_failed: "a probe failed", probe_slow: "probes were slow", probes_succeeded: "probes succeeded", time_passed: "its open time is over",
  early_probe: "an early probe succeeded", told: "another process knows", forced: "forced by hand", reset: "reset by hand",
  disabled: "disabled by hand",
};

const COOL = { rate: "rate limit", money: "quota or credit used up", auth: "key refused", model: "no such model for it" };

const cooled = (one) => `${one.keys === 1 ? "a key cools" : `${one.keys} keys cool`}${one.model ? ` for ${one.model}` : ""}`;

function reason(breaker) {
  const counts = breaker.counts, parts = [];
  const total = (counts.ok || 0) + (counts.failed || 0);
  if (breaker.why) parts.push(WHY[breaker.why] || breaker.why);
  if (total > 1) parts.push(`${counts.failed} of ${total} failed`);
  if (breaker.last_failure) parts.push(`last: ${breaker.last_failure}`);
  return upper(parts.join(", "));
}

// Where the traffic of the routes that name a provider goes instead: the targets of their last minute. A request that the
// target refused for its own sake (400 to 499) has been answered, too.
function instead(name) {
  const names = new Set(state.routes.filter((route) => route.steps.flat().some((one) => one.target.split("/")[0] === name)).map((route) => route.name));
  const counts = new Map();
  for (const line of lines) {
    if (Date.now() - Date.parse(line.time) > MINUTE_MS) break;
    if (!names.has(line.route) || line.status >= 500 || line.error_code || !line.target || line.target.split("/")[0] === name || stateOf(line.target) === "open") continue;
    counts.set(line.target, (counts.get(line.target) || 0) + 1);
  }
  const best = [...counts].sort((one, other) => other[1] - one[1])[0];
  return best ? `Traffic goes to ${best[0]}.` : "No other target has answered in the last minute.";
}

// The routes of which every target is out: what most needs to be seen.
function dead() {
  const all = state.routes.filter((route) => route.steps.flat().every((one) => OUT.includes(stateOf(one.target))));
  if (!all.length) return [];
  const names = all.slice(0, 3).map((route) => route.name).join(", ");
  const held = (name) => state.providers.find((each) => each.name === name).breakers[0].held;
  const probes = all.some((route) => route.steps.flat().some(({ target }) => stateOf(target) === "open" && !held(target.split("/")[0])));
  return [["bad", `Route${all.length === 1 ? "" : "s"} ${names}${all.length > 3 ? ` and ${all.length - 3} more` : ""}: every target is out.`,
    `Requests are refused at once${probes ? "; about one a second is let through as a probe of an open breaker (panic)" : ""}.`]];
}

const OUT = ["open", "cooling", "no key"], URGENCY = ["bad", "warn"], NEWS_MAX = 8;

function told() {
  const all = [];
  if (away) {
    const since = new Date(away.since).toLocaleTimeString("en-GB");
    const what = away.why ? ["Fusebox refuses to tell this page anything."] : [`No word from Fusebox since ${since}. Trying again every two seconds.`];
    all.push(["bad", what, away.why || (state ? "What is shown below is of that time." : "")]);
    return all;
  }
  if (!state) return all;
  if (state.uplink_down) all.push(["bad", "This machine's own network seems to be down: several providers cannot be reached at once."]);
  if (state.policy.failing) {
    const error = state.policy.last_error;
    const further = error ? (found(error) || []).length - 1 : 0;
    all.push(["bad", "A changed policy was not taken; the last good one stays in force.",
      error ? `${error.error.split("\n")[0]}${further > 0 ? ` And ${plural(further, "further problem")}, under Policy below.` : ""}` : ""]);
  }
  if (state.state === "draining") all.push(["warn", `Draining: ${plural(state.active, "request")} under way.`]);
  all.push(...dead());
  for (const provider of state.providers) {
    for (const breaker of provider.breakers) {
      const name = breaker.model ? `${provider.name}/${breaker.model}` : provider.name;
      const acts = breaker.mode === "enforce" || breaker.held;
      if (breaker.state === "open") {
        const goes = acts ? instead(provider.name) : "Shadow mode: requests go there all the same.";
        const what = breaker.held ? [`${name}: held open by hand`] : [`${name}: breaker open`];
        if (breaker.until) what.push(" for ", until(breaker.until), " more");
        all.push([acts ? "bad" : "warn", [...what, "."], [reason(breaker), goes].filter(Boolean).join(". ")]);
      } else if (breaker.state === "half-open") {
        all.push(["warn", `${name}: breaker half-open, probes decide.`, reason(breaker)]);
      } else if (breaker.mode === "disabled") {
        all.push(["warn", `${name}: breaker disabled.`, ""]);
      }
    }
    for (const one of provider.cooling.slice(0, 3)) {
      all.push([one.reason === "rate" ? "warn" : "bad", [`${provider.name}: ${cooled(one)} (${COOL[one.reason]}), `, until(one.until), " left."], ""]);
    }
    if (provider.keys.missing.length) all.push(["bad", `${provider.name}: a key is missing.`, provider.keys.missing.join("; ")]);
    if (provider.fault) all.push(["warn", [`${provider.name}: a fault is played (${provider.fault.does}), `, until(provider.fault.until), " left."], ""]);
    const recent = sum([provider], 12);
    if (ails(recent) && provider.breakers[0].state === "closed")
      all.push(["warn", `${provider.name}: ${percent(recent.failures / recent.attempts)} of the attempts of the last minute failed.`, ""]);
  }
  all.sort((one, other) => URGENCY.indexOf(one[0]) - URGENCY.indexOf(other[0]));
  if (all.length > NEWS_MAX) all.push(["warn", `And ${all.splice(NEWS_MAX).length} more: see below.`, ""]);
  if (!all.length) {
    const lately = lines.length && Date.now() - Date.parse(lines[0].time) < MINUTE_MS;
    all.push(["good", lately ? "All providers answer." : "All is quiet: no request in the last minute.", ""]);
  }
  return all;
}

function news() {
  const all = told();
  const parts = (what, of) => [what].flat().map((part) => (typeof part === "string" ? part : of(part))).join("");
  // Read aloud only when something has happened: numbers that run are no news.
  const key = JSON.stringify(all.map(([kind, what, more]) => [kind, parts(what, () => ""), more.replace(/\d+ of \d+/, "")]));
  if (key !== newsKey) say(all.map(([, what]) => parts(what, (node) => node.textContent)).join(" "));
  newsKey = key;
  if (!fresh("news", all.map(([kind, what, more]) => [kind, parts(what, (node) => node.dataset.until), more]))) return;
  const [kind, first] = all[0] || ["good", ""];
  document.title = kind === "good" ? "Fusebox" : `${kind === "bad" ? "■" : "◐"} ${[first].flat()[0].replace(/[\s,.]+$/, "")} · Fusebox`;
  $("news").replaceChildren(...all.map(([kind, what, more]) => h("li", { class: kind }, h("b", {}, what), more ? h("span", {}, more) : null)));
}

// What is read aloud: that something changed, not the seconds that run.
function say(text) {
  $("said").textContent = text;
}

// Providers

// How many keys have to cool before nothing goes there; clients' own are not known.
const keysOf = (provider) => (provider.keys.mode === "own" ? provider.keys.count : provider.keys.mode === "none" ? 1 : Infinity);
const keyless = (provider) => provider.keys.mode === "own" && !provider.keys.count;

function kindOf(provider) {
  const own = provider.breakers[0];
  const acts = own.mode === "enforce" || own.held;
  if (own.state === "open" && acts) return ["bad", own.held ? "held open" : "open"];
  if (provider.breakers.slice(1).some((one) => one.state === "open")) return ["warn", "open for a model"];
  if (own.state === "open") return ["warn", "open (shadow)"];
  if (own.state === "half-open") return ["warn", "half-open"];
  if (own.mode === "disabled") return ["warn", "disabled"];
  if (keyless(provider)) return ["bad", "closed, no key"];
  if (provider.cooling.some((cool) => cool.keys >= keysOf(provider))) return ["warn", "closed, cooling"];
  return ["good", "closed"];
}

function providers() {
  for (const name of cards.keys()) if (!state.providers.some((one) => one.name === name)) cards.delete(name);
  settle($("providers"), state.providers.map((one) => {
    if (!cards.has(one.name)) cards.set(one.name, { card: h("li", {}, h("div", { class: "facts-of" }), h("p", { class: "actions" })), drawn: "", acted: "" });
    const kept = cards.get(one.name), own = one.breakers[0];
    const drawn = JSON.stringify(one), acted = JSON.stringify([state.buttons, own.held, own.mode]);
    if (kept.drawn !== drawn) provider(one, kept.card, kept.card.firstChild);
    if (kept.acted !== acted) kept.card.lastChild.replaceChildren(...(state.buttons ? actions(one.name, own) : []));
    kept.drawn = drawn;
    kept.acted = acted;
    return kept.card;
  }));
}

function provider(one, card, facts) {
  const [kind, word] = kindOf(one);
  const recent = sum([one], 12), all = sum([one], 120);
  const idle = kind === "good" && !all.attempts;
  const p95 = [...one.points].reverse().find((point) => point[3] !== null);
  const keys = one.keys.mode === "own" ? plural(one.keys.count, "key") : one.keys.mode === "client" ? "client's keys" : "no keys";
  const notes = [
    ...one.cooling.map((cool) => h("li", {}, `${upper(cooled(cool))}: ${COOL[cool.reason]}, `, until(cool.until), " left")),
    one.cooling_count > one.cooling.length ? h("li", {}, `and ${one.cooling_count - one.cooling.length} more cool-downs`) : null,
    ...one.keys.missing.map((text) => h("li", {}, `Key missing: ${text}`)),
    ...one.breakers.slice(1).filter((each) => each.state !== "closed").map((each) => h("li", {}, `${each.model}: ${each.state}, ${reason(each)}`)),
    one.fault ? h("li", {}, `Fault played: ${one.fault.does}, `, until(one.fault.until), " left") : null,
  ];
  const own = one.breakers[0];
  card.className = `provider ${idle ? "idle" : kind}`;
  facts.replaceChildren(...[
    h("div", { class: "top" }, h("h3", {}, one.name), h("span", { class: `pill ${kind}` }, `breaker ${word}`)),
    h("p", { class: "facts" },
      figure(short(recent.attempts), "attempts/min"),
      failed(recent),
      figure(one.max_concurrency ? `${one.under_way}/${one.max_concurrency}` : one.under_way, "under way"),
      h("span", {}, keys)),
    own.state !== "closed" ? h("p", { class: "why" }, reason(own), own.until ? [", ", until(own.until), " left"] : null) : null,
    notes.some(Boolean) ? h("ul", { class: "notes" }, notes) : null,
    h("div", { class: "sparks" },
      spark("In 10 min", all.attempts ? `${short(all.attempts)}` : "none", all.failures ? `${short(all.failures)} failed` : "", bars(one.points)),
      spark("First event p95", p95 ? seconds(p95[3]) : "–", "", curve(one.points)))].filter(Boolean));
}

function actions(name, breaker) {
  const path = `/api/breakers/${encodeURIComponent(name)}`;
  const button = (label, action, asked) =>
    h("button", { type: "button", id: `${action}-${name}`, on: { click: () => order(path, { action }, asked) } }, label);
  return [
    breaker.held ? button("Release", "release", `Let requests go to ${name} again (probes decide)?`)
      : button("Force open", "force_open", `Send nothing more to ${name} until it is released?`),
    breaker.mode === "disabled" ? button("Enable", "enable", `Have the breaker of ${name} act again?`)
      : button("Disable", "disable", `Have the breaker of ${name} never open?`),
    button("Reset", "reset", `Close the breaker of ${name} and forget its failures and cool-downs?`)];
}

// Ten minutes of steps; the latest is at the right end.
const STEPS = 120, HEIGHT = 40;

function spark(label, value, bad, drawing) {
  return h("figure", {}, h("figcaption", {}, h("span", {}, label), h("b", {}, value), bad ? h("span", { class: "failed" }, bad) : null), drawing);
}

const chart = (label, ...children) => s("svg", { viewBox: `0 0 ${STEPS} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
  ...[0.5, HEIGHT / 2, HEIGHT - 0.5].map((y) => s("line", { x1: 0, x2: STEPS, y1: y, y2: y, class: "spark-base" })), ...children);

// How many attempts each step had; those that failed stand at the bottom.
function bars(points) {
  const highest = Math.max(...points.map(([attempts]) => attempts), 4), scale = (HEIGHT - 2) / highest, shown = [];
  const bar = (index, from, count, kind) => s("rect",
    { x: STEPS - points.length + index + 0.1, y: (HEIGHT - (from + count) * scale).toFixed(2), width: 0.8, height: (count * scale).toFixed(2), class: kind });
  points.forEach(([attempts, failures], index) => {
    if (attempts > failures) shown.push(bar(index, failures, attempts - failures, "spark-bar"));
    if (failures) shown.push(bar(index, 0, Math.max(failures, 2 / scale), "spark-bad"));
  });
  const { attempts, failures } = sum([{ points }], STEPS);
  return chart(`The last ten minutes: ${plural(attempts, "attempt")}, ${failures} failed`, ...shown);
}

// The 95th percentile as a line, the median as a fainter one.
function curve(points) {
  const highest = Math.max(...points.map((point) => point[3] || 0), 0.001);
  const line = (which) => {
    let path = "", last = -9;
    points.forEach((point, index) => {
      if (point[which] === null) return;
      // No line over half a minute and more without an answer; one answer alone is a dash.
      path += `${index - last > 6 ? "M" : "L"}${STEPS - points.length + index},${(HEIGHT - 2 - (point[which] / highest) * (HEIGHT - 6)).toFixed(1)}${index - last > 6 ? "h.9" : ""}`;
      last = index;
    });
    return path;
  };
  const all = points.filter((point) => point[3] !== null);
  const told = all.length ? `at most ${seconds(highest)}, now ${seconds(all[all.length - 1][3])}` : "no answer";
  return chart(`Time to the first event in the last ten minutes, 95th percentile: ${told}`,
    ...[[2, "spark-median"], [3, "spark-line"]].map(([which, kind]) => s("path", { d: line(which) || "M0,0", class: kind })));
}

// Routes

function stateOf(target) {
  const [name, ...rest] = target.split("/");
  const model = rest.join("/");
  const one = state.providers.find((each) => each.name === name);
  if (!one) return null;
  if (keyless(one)) return "no key";
  const breaker = one.breakers.find((each) => each.model && each.model === model) || one.breakers[0];
  if (breaker.mode === "enforce" || breaker.held) {
    if (breaker.state !== "closed") return breaker.state;
  }
  if (one.cooling.some((cool) => (!cool.model || cool.model === model) && cool.keys >= keysOf(one))) return "cooling";
  return null;
}

// The targets of a route's last requests: of 15 seconds if they say enough, else of a minute.
function lately(route) {
  for (const [within, least, span] of [[15000, 4, "15 s"], [MINUTE_MS, 0, "minute"]]) {
    const seen = new Map();
    let total = 0, refused = 0;
    for (const line of lines) {
      if (Date.now() - Date.parse(line.time) > within) break;
      if (line.route !== route) continue;
      total += 1;
      if (asked(line)) seen.set(line.target, (seen.get(line.target) || 0) + 1);
      else refused += 1;
    }
    if (total >= least) return { seen, total, refused, span };
  }
}

function routes() {
  const now = state.routes.map((route) => {
    const { seen, total, refused, span } = lately(route.name);
    return [total, refused, span, [...seen], route.steps.flat().map((one) => stateOf(one.target))];
  });
  if (!fresh("routes", [state.routes, now, unfolded.has("routes")])) return;
  const calm = (route) => !route.steps.flat().some((one) => stateOf(one.target));
  $("routes").replaceChildren(...fold("routes", state.routes, calm, "route").map((route) => {
    const { seen, total, refused, span } = lately(route.name);
    const of = (target) => [...seen].filter(([name]) => name === target || (!target.includes("/") && name.startsWith(`${target}/`)))
      .reduce((all, [, count]) => all + count, 0);
    const settings = [route.order === "as_written" ? "" : `ordered by ${route.order}`, route.sticky ? `sticky ${route.sticky}` : "",
      route.mirror ? `mirrored to ${route.mirror.to[0].target}, ${route.mirror.percent} %` : "", when(route)].filter(Boolean);
    const chain = [];
    route.steps.forEach((step, index) => {
      chain.push(h("li", { class: "hop" }, index ? h("span", { class: "then" }, "→", h("span", { class: "unseen" }, "else")) : null, h("span", { class: "step" }, step.map((choice) => {
        const now = of(choice.target), out = stateOf(choice.target);
        const share = total ? percent(now / total) : "", probing = out === "half-open";
        return h("span", { class: `target ${probing ? "probing" : out ? "out" : now ? "now" : ""}` },
          choice.target, step.length > 1 ? h("span", { class: "quiet" }, `weight ${percent(choice.share)}`) : null,
          out ? h("span", { class: "share" }, out) : null,
          now ? h("span", { class: out ? "quiet" : "share" }, out ? `had ${share}` : share) : null);
      }))));
    });
    return h("li", {},
      h("div", { class: "route-head" }, h("h3", {}, route.name), h("span", { class: "quiet" }, matched(route.match)),
        h("span", { class: "quiet" }, total ? `${total} in the last ${span}${refused ? `, ${refused} refused` : ""}` : "none in the last minute")),
      h("ol", { class: "chain" }, chain),
      settings.length ? h("p", { class: "quiet" }, settings.join(" · ")) : null);
  }));
}

const FOLDED = 12, unfolded = new Set();

// Of a long list its beginning and those that are not `calm`, until all of them are asked for: what stands below must be reachable.
function fold(name, all, calm, word) {
  const button = $(`all-${name}`), shown = all.filter((one, index) => index < FOLDED || !calm(one));
  button.hidden = shown.length === all.length && !unfolded.has(name);
  button.textContent = unfolded.has(name) ? "Show fewer" : `Show all ${plural(all.length, word)}`;
  button.setAttribute("aria-expanded", String(unfolded.has(name)));
  return unfolded.has(name) ? all : shown;
}

function when(route) {
  const day = (at) => new Date(at * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
  return [route.from ? `from ${day(route.from)}` : "", route.until ? `until ${day(route.until)}` : ""].filter(Boolean).join(" ");
}

function matched(match) {
  const parts = Object.entries(match).map(([key, value]) => {
    if (Array.isArray(value)) return `${key.replace("_", " ")} ${value.join(" or ")}`;
    if (value && typeof value === "object")
      return Object.entries(value).filter(([, each]) => each !== null).map(([name, each]) => `${key.replace("_", " ")} ${name} ${Array.isArray(each) ? each.join(" or ") : each}`).join(", ");
    return value === true ? key : value === false ? `no ${key}` : `${key} ${value}`;
  });
  return parts.length ? parts.join(", ") : "everything";
}

// Targets

const cell = (label, ...children) => h("td", { role: "cell", class: "number", "data-label": label }, ...children);

function targets() {
  if (!fresh("targets", [state.targets, unfolded.has("targets")])) return;
  const all = [...state.targets].sort((one, other) => other.requests - one.requests);
  $("targets").replaceChildren(...(all.length ? fold("targets", all, () => true, "target").map((one) => h("tr", { role: "row" },
    h("th", { role: "rowheader", scope: "row" }, one.model ? `${one.provider}/${one.model}` : [one.provider, h("span", { class: "quiet" }, " any model")]),
    cell("Requests", one.requests.toLocaleString("en")),
    cell("Tokens in / out", one.input || one.output ? `${short(one.input)} / ${short(one.output)}` : "–"),
    cell("First event p50 / p95", `${seconds(one.p50_s)} / ${seconds(one.p95_s)}`),
    cell("Cost", one.cost_usd ? money(one.cost_usd) : "–",
      one.unmetered + one.unpriced ? h("div", { class: "quiet" }, [one.unmetered ? `${short(one.unmetered)} unmetered` : "", one.unpriced ? `${short(one.unpriced)} unpriced` : ""].filter(Boolean).join(", ")) : null)))
    : [h("tr", { role: "row" }, h("td", { role: "cell", colspan: 5, class: "quiet" }, "No request has ended yet."))]));
}

// Requests

// What was left out: each with its target and why. A target may be left out first and asked all the same.
const leftOut = (line) => (line.skipped || []).map((text) => {
  const [target, ...why] = text.split(": ");
  return { target, why: why.join(": ") };
});

// Whether anybody was asked; if not, `target` is only whom the plan had first.
const asked = (line) => Boolean(line.target) && !(line.attempts === 0 && line.error_code);
const fellBack = (line) => asked(line) && ((line.tried || []).some((one) => one.target !== line.target && one.outcome !== "let go") || leftOut(line).slice(0, 1).some((one) => one.target !== line.target));
const isError = (line) => line.status >= 400 || Boolean(line.error_code);
const isSlow = (line) => (line.first_event_ms ?? line.total_ms) >= SLOW_MS;

function wanted(line) {
  if (only.has("errors") && !isError(line)) return false;
  if (only.has("fallbacks") && !fellBack(line)) return false;
  if (only.has("slow") && !isSlow(line)) return false;
  const words = $("filter").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return true;
  const text = [line.model, line.target, line.route, line.status, line.request_id, line.trace_id, line.path, line.endpoint, line.error_code,
    line.panic ? "panic" : null, ...(line.tried || []).map((one) => `${one.target} ${one.outcome} ${one.class}`), ...(line.skipped || [])]
    .filter((part) => part !== undefined && part !== null).join(" ").toLowerCase();
  return words.every((word) => text.includes(word));
}

function requests() {
  const shown = lines.filter(wanted);
  settle($("lines"), shown.flatMap((line) => {
    if (!rows.has(line.seq)) rows.set(line.seq, { row: row(line), detail: null });
    const kept = rows.get(line.seq);
    if (!opened.has(line.seq)) return [kept.row];
    kept.detail = kept.detail || detail(line);
    return [kept.row, kept.detail];
  }));
  if (rows.size > 2 * KEPT) {
    const seqs = new Set(lines.map((line) => line.seq));
    for (const seq of rows.keys()) if (!seqs.has(seq)) rows.delete(seq), opened.delete(seq);
  }
  drawnTo = lines.length ? lines[0].seq : 0;
  const filtered = shown.length !== lines.length;
  const text = filtered ? `${shown.length} of the last ${lines.length}` : lines.length ? `last ${lines.length}` : "";
  if ($("count").textContent !== text) $("count").textContent = text;
  $("none").hidden = shown.length > 0;
  const known = state && !state.policy.restart_needed.includes("listen");
  $("none").textContent = lines.length ? "Nothing fits the filter. Esc clears it." : `No request yet. Point an SDK's base URL at the data port${known ? `: ${state.base_url.replace("*", location.hostname)}` : "."}`;
}

function row(line) {
  const bad = line.status >= 500 || line.error_code ? "bad" : line.status >= 400 ? "warn" : "good";
  const tags = [line.panic ? h("span", { class: "tag bad" }, "panic") : null, fellBack(line) ? h("span", { class: "tag" }, "fallback") : null, line.broke ? h("span", { class: "tag bad" }, "broke off") : null,
    isSlow(line) ? h("span", { class: "tag" }, "slow") : null];
  const tokens = line.tokens ? `${short(line.tokens.input)} / ${short(line.tokens.output)}` : line.unmetered ? "unmetered" : "–";
  return h("tr", { class: "request", role: "row", on: { click: (event) => { if (!window.getSelection().toString() || event.target.tagName === "BUTTON") toggle(line.seq); } } },
    h("td", { role: "cell", class: "time" }, clock(line.time)),
    h("td", { role: "cell" }, h("button", { type: "button", class: "open", id: `open-${line.seq}`, "aria-expanded": "false", "aria-controls": `detail-${line.seq}` },
      `${line.model ?? "(no model)"} `, h("span", { class: `quiet${line.endpoint ? " whole" : ""}` }, `${line.endpoint || `${line.method} ${line.path}`}${line.stream ? ", streamed" : ""}`))),
    h("td", { role: "cell" }, h("span", { class: "quiet" }, `${line.route ?? "no route"} → `), asked(line) ? line.target : "nobody", " ", tags),
    h("td", { role: "cell", class: `status ${bad}` }, String(line.status || "–"), line.error_code ? h("div", { class: "quiet" }, line.error_code) : null),
    h("td", { role: "cell", class: "number" }, ms(line.first_event_ms)),
    h("td", { role: "cell", class: "number" }, ms(line.total_ms)),
    h("td", { role: "cell", class: "number" }, tokens),
    h("td", { role: "cell", class: "number" }, money(line.cost_usd)));
}

function toggle(seq) {
  if (!opened.delete(seq)) opened.add(seq);
  $(`open-${seq}`).setAttribute("aria-expanded", String(opened.has(seq)));
  requests();
}

function detail(line) {
  const pairs = [
    ["Request", `${line.method} ${line.path}`], ["Id", line.request_id], ["Trace", line.trace_id], ["Format", line.format],
    ["Times", `${line.first_event_ms === undefined ? "no first event" : `first event after ${ms(line.first_event_ms)}`}, all in ${ms(line.total_ms)}`],
    ["Sizes", `${line.bytes_in.toLocaleString("en")} bytes in, ${line.bytes_out.toLocaleString("en")} out`],
    ["Fusebox's own part", line.overhead_us === undefined ? null : line.overhead_us < 1000 ? `${line.overhead_us} µs` : ms(line.overhead_us / 1000)],
    ["Tokens", line.tokens ? Object.entries(line.tokens).map(([kind, count]) => `${kind.replaceAll("_", " ")} ${count.toLocaleString("en")}`).join(", ") : line.unmetered ? "the provider did not say" : null],
    ["Cost", line.cost_usd === undefined ? null : money(line.cost_usd)],
    ["Broke off", line.broke], ["Error", line.error ? `${line.error_code}: ${line.error}` : null],
    ["Class", line.complexity], ["SDK's retry", line.client_retry],
  ].filter(([, value]) => value !== undefined && value !== null && value !== "");
  return h("tr", { class: "detail", role: "row", id: `detail-${line.seq}` }, h("td", { role: "cell", colspan: 8 },
    line.tried || line.skipped ? timeline(line) : null,
    h("dl", { class: "pairs" }, pairs.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, String(value))]))));
}

function timeline(line) {
  const tried = line.tried || [], whole = Math.max(line.total_ms, ...tried.map((one) => one.start_ms + one.ms), 1);
  // In panic the last attempt is at a target whose breaker is open, which `skipped` tells, too: said once, at the attempt.
  const early = line.panic && tried.length ? tried[tried.length - 1].target : null;
  const skipped = leftOut(line), though = skipped.find((one) => one.target === early && one.why.startsWith("breaker"));
  return h("ol", { class: "timeline", "aria-label": "Attempts" },
    skipped.filter((one) => one !== though).map((one) => {
      const after = tried.some((each) => each.target === one.target);
      return h("li", { class: "attempt" }, h("span", {}, one.target), h("span", { class: "track out", "aria-hidden": "true" }),
        h("span", { class: "status warn" }, `left out${after ? " once" : ""}: ${one.why}`));
    }),
    tried.map((one, index) => {
      const kind = one.verdict === "success" && one.class === "OK" ? "good" : one.verdict === "failure" ? "bad" : "warn";
      return h("li", { class: "attempt" },
        h("span", {}, one.target),
        h("span", { class: "track", "aria-hidden": "true" }, s("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none" },
          s("rect", { x: (one.start_ms / whole) * 100, y: 0, width: Math.max((one.ms / whole) * 100, 0.6), height: 10, class: `span-${kind}` }))),
        h("span", { class: kind === "good" ? "status good" : `status ${kind}` }, `${one.outcome}${one.status ? ` (${one.status})` : ""}, ${ms(one.ms)}${one.start_ms ? ` from ${ms(one.start_ms)} on` : ""}`,
          early && index === tried.length - 1 ? h("span", { class: "though" }, `Panic: every target was out; asked ${though ? `although its ${though.why.replace(/^breaker (half-open|open)/, "breaker was $1")}` : "all the same"}`) : null));
    }));
}

// Policy

function policy() {
  if (!fresh("policy", [state.policy, state.buttons])) return;
  const one = state.policy, problems = one.last_error && one.failing ? one.last_error : null;
  const reload = $("reload");
  if (state.buttons && !reload.firstChild)
    reload.append(h("button", { type: "button", on: { click: () => order("/api/reload", {}, "Read the configuration's files again, now?") } }, "Reload"));
  $("policy").replaceChildren(...[
    h("dl", { class: "pairs" }, [
      ["In force", h("span", {}, one.hash ? [h("code", {}, one.hash.slice(0, 12)), ", "] : null, `since ${new Date(one.loaded_at * 1000).toLocaleString("en-GB")}, ${plural(one.reloads, "reload")}`)],
      ["Files", [one.source, ...one.files.filter((file) => file !== one.source)].join(", ")],
      one.restart_needed.length ? ["Needs a restart", one.restart_needed.join(", ")] : null,
      one.last_error && !one.failing ? ["Last refused", `${one.last_error.at}: ${one.last_error.error.split("\n")[0]}`] : null,
    ].filter(Boolean).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    problems ? h("div", { class: "problems", role: "alert" }, h("p", { class: "status bad" }, `Not taken at ${clock(problems.at)}:`),
      h("ul", {}, (found(problems) || [problems.error]).map((text) => h("li", { class: "mono" }, text)))) : null,
    one.warnings.length ? h("div", { class: "problems" }, h("p", { class: "status warn" }, plural(one.warnings.length, "warning")),
      h("ul", {}, one.warnings.map((text) => h("li", { class: "mono" }, text)))) : null].filter(Boolean));
}

function found(failed) {
  const all = (failed.files || []).flatMap((each) => each.problems.map((one) => ({ ...one, file: each.file }))).map((one) => `${one.file}:${one.line}:${one.column}: ${one.path ? `${one.path}: ` : ""}${one.message}${one.hint ? ` (${one.hint})` : ""}`);
  return all.length ? all : null;
}

// Keys and switches

document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
  if (event.key === "/" && !typing) {
    event.preventDefault();
    $("filter").focus();
  } else if (event.key === "Escape") {
    $("filter").value = "";
    only.clear();
    for (const chip of document.querySelectorAll("[data-only]")) chip.setAttribute("aria-pressed", "false");
    if (typing) event.target.blur();
    requests();
  }
});

function narrow() {
  requests();
  say($("count").textContent);
}

$("filter").addEventListener("input", narrow);

for (const chip of document.querySelectorAll("[data-only]")) {
  chip.addEventListener("click", () => {
    const name = chip.dataset.only;
    if (!only.delete(name)) only.add(name);
    chip.setAttribute("aria-pressed", String(only.has(name)));
    narrow();
  });
}

for (const name of ["routes", "targets"]) {
  $(`all-${name}`).addEventListener("click", () => {
    if (!unfolded.delete(name)) unfolded.add(name);
    draw();
  });
}

// Who has looked enough gets what has come meanwhile.
$("lines").addEventListener("pointerleave", draw);
$("lines").addEventListener("focusout", () => setTimeout(draw));

$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  draw();
});

function theme(chosen) {
  const dark = chosen ? chosen === "dark" : window.matchMedia("(prefers-color-scheme: dark)").matches;
  if (chosen) document.documentElement.dataset.theme = chosen;
  $("theme").textContent = dark ? "Light" : "Dark";
  $("theme").setAttribute("aria-label", dark ? "Light theme" : "Dark theme");
  return dark;
}

let dark = theme(localStorage.getItem("fusebox-theme"));
$("theme").addEventListener("click", () => {
  const chosen = dark ? "light" : "dark";
  localStorage.setItem("fusebox-theme", chosen);
  dark = theme(chosen);
});

setInterval(() => {
  for (const node of document.querySelectorAll("[data-until]")) node.textContent = left(Number(node.dataset.until));
}, 1000);

token = sessionStorage.getItem("fusebox-token");
listen();
