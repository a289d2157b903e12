"use strict";
// Asks for status.json every PERIOD ms. A daemon that does not answer has no state: the tables are
// emptied, so that nothing from before looks like now.

const PERIOD = 2000;
const LIMIT = 10000;
const STALE = 5;
const GOOD = new Set(["MASTER", "up", "roomy"]);
const CALM = new Set(["BACKUP", "idle"]);

let answered = null;

function make(tag, text, kind) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (kind) node.className = kind;
  return node;
}

function age(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 9.95) return `${Math.max(0, seconds).toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole >= 86400) return `${Math.floor(whole / 86400)} d ${Math.floor(whole % 86400 / 3600)} h`;
  if (whole >= 3600) return `${Math.floor(whole / 3600)} h ${Math.floor(whole % 3600 / 60)} min`;
  return whole >= 60 ? `${Math.floor(whole / 60)} min ${whole % 60} s` : `${whole} s`;
}

function stateKind(state) {
  return GOOD.has(state) ? "good" : CALM.has(state) ? "" : state === "weak" || state === "sorry" ||
    state === "nearly full" || state === "INIT" ? "warn" : "bad";
}

function table(id, title, head, rows) {
  const section = document.getElementById(id);
  section.replaceChildren();
  if (!rows.length) return;
  section.append(make("h2", title));
  const made = make("table");
  const top = made.createTHead().insertRow();
  head.forEach((name) => top.append(make("th", name)));
  const body = made.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    row.forEach((cell, at) => line.append(make("td", cell === "" ? "–" : String(cell),
      head[at] === "State" ? stateKind(cell) : "")));
  }
  section.append(made);
}

function virtualState(virtual) {
  if (virtual.sorry_serves) return "sorry";
  if (!virtual.servers.some((server) => server.serving)) return "down";
  return virtual.quorum ? "up" : "weak";
}

function order(override) {
  const reason = override.reason ? ` (${override.reason})` : "";
  return `${override.state === "set" ? override.kind : override.state}, ordered by ` +
    `${override.by || "somebody"} ${age(override.age)} ago${reason}`;
}

function whyServer(server) {
  const orders = server.override ? [order(server.override)] : [];
  return orders.concat(server.checks.filter((check) => !check.up).map((check) =>
    `${check.name}: ${check.detail || "no result yet"}`)).join("; ");
}

function syncRows(sync) {
  const known = (value) => value === null ? "unknown" : value ? "yes" : "no";
  return sync ? [[known(sync.keeps), known(sync.peer), sync.own, sync.from_peer, sync.behind,
    sync.doubts.join("; ")]] : [];
}

function show(status) {
  const daemon = status.daemon;
  document.getElementById("daemon").textContent =
    `${daemon.version}, up ${age(daemon.age)}, ${daemon.file}, ` +
    `applied ${age(daemon.applied_age)} ago`;
  const problems = document.getElementById("problems");
  problems.replaceChildren(...status.problems.map((one) => make("p", one.message, "problem")));
  table("vrrp", "VRRP", ["Instance", "State", "For", "Priority", "Master", "Addresses", "Why"],
    (status.router ? status.router.instances : []).map((one) => [
      one.name, one.state, age(one.for_seconds), one.priority,
      one.held ? "itself" : one.master && `${one.master} (${one.master_priority}), heard ` +
        `${age(one.master_age)} ago`,
      one.addresses.join(", "),
      one.faults.concat(one.pending).join(", ") || one.contention || one.cause]));
  const virtuals = status.director ? status.director.virtual_servers : [];
  table("virtual", "Virtual servers",
    ["Virtual server", "State", "For", "Servers up", "Weight", "Quorum at", "Scheduler"],
    virtuals.map((one) => [one.name, virtualState(one), age(one.for_seconds),
      `${one.servers.filter((server) => server.up).length} of ${one.servers.length}`,
      one.live, one.gain_at, one.scheduler]));
  const servers = virtuals.flatMap((one) => one.servers.map((server) => [one, server]));
  table("servers", "Real servers",
    ["Real server", "Virtual server", "State", "For", "Weight", "By", "Why"],
    servers.map(([one, server]) => [server.name, one.name,
      server.up ? (server.serving ? "up" : "idle") : "DOWN", age(server.for_seconds),
      server.weight, server.forward, whyServer(server)]));
  table("pools", "Local addresses", ["Group", "State", "Connections", "Fullest toward", "Used"],
    (status.director ? status.director.pools : []).map((one) => [one.name, one.state,
      one.connections, one.place, `${one.used} of ${one.capacity}`]));
  table("sync", "State sync", ["Fail-over keeps", "Peer heard", "Own", "Of the peer", "Behind",
    "Why not"], syncRows(status.director && status.director.state_sync));
}

function forget(why) {
  for (const id of ["vrrp", "virtual", "servers", "pools", "sync"]) {
    document.getElementById(id).replaceChildren();
  }
  document.getElementById("daemon").textContent = "state unknown";
  document.getElementById("problems").replaceChildren(
    make("p", `NO ANSWER: ${why}. Nothing is known of this director.`, "problem"));
}

function tick() {
  const line = document.getElementById("age");
  if (answered === null) {
    line.textContent = "";
    return;
  }
  const old = (performance.now() - answered) / 1000;
  line.textContent = `as of ${age(old)} ago`;
  line.className = old > STALE ? "bad" : "";
  document.body.classList.toggle("stale", old > STALE);
}

async function look() {
  try {
    const asked = performance.now();
    const answer = await fetch("status.json", {
      cache: "no-store", signal: AbortSignal.timeout(LIMIT)});
    const status = await answer.json();
    if (!answer.ok) throw new Error(status.error ? status.error.message : answer.statusText);
    answered = asked;
    show(status);
  } catch (error) {
    forget(error.message);
  }
  tick();
  setTimeout(look, PERIOD);
}

look();
setInterval(tick, 500);
