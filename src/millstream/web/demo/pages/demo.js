/* The page of the demo: shows what /events tells, a snapshot first, then each change. No text is ever made into HTML. */

const $ = (id) => document.getElementById(id);
const SECONDS = 60;
const TAPE_MAX = 24;
const LINES_MAX = 60;

let about = { pieces: 10, attempts: 3 };
let status = null;
let clicks = [];
let counted = new Map(); // "page second" -> clicks
let jobs = new Map(); // offset -> card
let report = null;
let lines = [];
let mine = null; // the last click of this page, on its way
let aheadMs = 0; // this machine's clock, seen from the server's

const now = () => Date.now() - aheadMs;
const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour12: false });
const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
const say = (text) => { $("said").textContent = text; };

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null && value !== undefined) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null && child !== ""));
  return element;
}

/* --- the log ---------------------------------------------------------------------------------------------------- */

function showTape() {
  const read = status?.stream.committed ?? 0;
  const reported = report?.end ?? 0;
  const shown = new Set([...$("tape").children].map((cell) => cell.dataset.offset));
  const cells = clicks.slice(-TAPE_MAX).map((click) =>
    make("li", { "data-offset": click.offset, class: shown.size && !shown.has(String(click.offset)) ? "new" : null,
                 title: `${click.label || click.element}, click ${click.seq} of page load ${click.load}` },
      make("span", { class: "offset" }, String(click.offset)),
      make("span", {}, click.page),
      make("span", { class: "what" }, click.label || click.element),
      make("span", { class: "marks" },
        make("i", { class: "stream", "data-read": click.offset < read }),
        make("i", { class: "batch", "data-read": click.offset < reported }))));
  $("tape").replaceChildren(...(cells.length ? cells : [make("li", { class: "none" }, "The log is empty. Click something.")]));
  const last = clicks.at(-1);
  $("clicks-end").value = Math.max(status?.ends.clicks ?? 0, last ? last.offset + 1 : 0);
}

/* --- stream ----------------------------------------------------------------------------------------------------- */

function addWindows(windows) {
  for (const { page, start_ms, clicks: count } of windows) {
    const key = `${start_ms} ${page}`;
    counted.set(key, (counted.get(key) ?? 0) + count);
  }
}

function minute() {
  const end = Math.floor(now() / 1000) * 1000;
  const pages = new Map();
  for (const [key, count] of counted) {
    const gap = key.indexOf(" ");
    const start = Number(key.slice(0, gap));
    const age = (end - start) / 1000;
    if (age >= 2 * SECONDS) counted.delete(key);
    if (age >= SECONDS || age < 0) continue;
    const page = key.slice(gap + 1);
    if (!pages.has(page)) pages.set(page, { total: 0, bars: new Array(SECONDS).fill(0) });
    pages.get(page).total += count;
    pages.get(page).bars[SECONDS - 1 - age] += count;
  }
  return [...pages].sort(([a], [b]) => (a < b ? -1 : 1));
}

function showRates() {
  const pages = minute();
  const highest = Math.max(4, ...pages.flatMap(([, { bars }]) => bars));
  $("minute-total").value = pages.reduce((sum, [, { total }]) => sum + total, 0);
  $("rates").replaceChildren(...pages.map(([page, { total, bars }]) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const set = (element, values) => { for (const [name, value] of Object.entries(values)) element.setAttribute(name, value); };
    set(svg, { viewBox: `0 0 ${SECONDS} 16`, preserveAspectRatio: "none", role: "img", "aria-label": `${plural(total, "click")} in the last minute` });
    bars.forEach((count, second) => {
      if (!count) return;
      const height = (15 * count) / highest;
      const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      set(bar, { x: second + 0.1, y: 16 - height, width: 0.8, height });
      svg.append(bar);
    });
    return make("li", { "data-rate": page, "data-count": total }, make("code", { title: page }, page), svg, make("b", {}, String(total)));
  }));
  if (!status) return;
  const { committed, late } = status.stream;
  const behind = (status.ends.clicks ?? 0) - committed;
  $("stream-fine").textContent = `Read up to offset ${committed}` + (behind > 0 ? `, ${behind} to go` : ", nothing left to read") +
    (late ? `; ${plural(late, "click")} came too late for a window` : "") + ". A window closes a second after its end.";
}

/* --- queue ------------------------------------------------------------------------------------------------------ */

const STATES = {
  waiting: () => "waits",
  taken: (job) => `${job.worker.replace("draw-", "worker ")}${job.attempt > 1 ? `, try ${job.attempt}` : ""}`,
  retry: (job) => `failed ${job.attempt}×, again ${inSeconds(job)}`,
  done: () => "done",
  dead: (job) => `set aside after ${job.attempt} tries`,
};

function inSeconds(job) {
  const seconds = Math.ceil((job.due_us / 1000 - now()) / 1000);
  return seconds > 0 ? `in ${seconds} s` : "now";
}

function showPicture() {
  const picture = Math.max(-1, ...[...jobs.values()].map((job) => job.picture));
  const shown = [...jobs.values()].filter((job) => job.picture === picture && job.piece).sort((a, b) => a.piece - b.piece);
  const cells = [];
  for (let piece = 1; piece <= about.pieces; piece += 1) {
    const job = shown.find((one) => one.piece === piece);
    const old = $("picture").children[piece - 1];
    const words = job ? STATES[job.state](job) : "";
    const key = job ? `${job.job} ${job.state} ${job.drawn} ${words}` : "none";
    if (old?.dataset.key === key) { cells.push(old); continue; }
    const cell = make("li", { "data-key": key, "data-state": job?.state ?? "none", "data-piece": piece, "data-job": job?.job, "data-drawn": job?.drawn, title: job?.error || null },
      make("b", {}, job ? `job ${job.job}` : String(piece)), make("span", {}, words));
    if (job?.drawn !== null && job?.drawn !== undefined)
      cell.append(make("img", { src: `/pieces/${job.drawn}`, alt: `piece ${piece}, drawn by job ${job.job}`, width: 80, height: 80 }));
    cells.push(cell);
  }
  $("picture").replaceChildren(...cells);
}

function takeJobs(cards) {
  for (const card of cards) {
    const before = jobs.get(card.job);
    jobs.set(card.job, card);
    if (card.state === "dead" && before && before.state !== "dead") say(`Job ${card.job} failed ${card.attempt} times and was set aside.`);
  }
  while (jobs.size > 60) jobs.delete(jobs.keys().next().value);
  showPicture();
}

function showWorkers() {
  $("workers").replaceChildren(...status.workers.map((worker) =>
    make("li", { "data-state": worker.state }, make("span", {}, worker.name.replace("draw-", "worker ")),
      make("span", {}, worker.job === null ? worker.state : `holds job ${worker.job}${worker.attempt > 1 ? `, try ${worker.attempt}` : ""}`))));
  const { accepted, done, dead, expired, ready, leased, waiting } = status.queue;
  const part = (name, count) => [make("b", {}, String(count)), ` ${name}`];
  $("ledger").replaceChildren("Every job is accounted for: ", ...part("accepted = ", accepted), ...part("done + ", done),
    make("span", { class: dead ? "dead" : "" }, ...part("set aside + ", dead)), ...(expired ? part("expired + ", expired) : []),
    ...part(`in progress (${ready} not started, ${leased} held, ${waiting} to be tried again)`, ready + leased + waiting));
  for (const [name, count] of Object.entries(status.queue)) $("ledger").dataset[name] = count;
}

/* --- batch ------------------------------------------------------------------------------------------------------ */

function showReport() {
  if (!report) return;
  const head = ["Page", "Clicks", "Loads", "First", "Last", "Most clicked"];
  const numbers = new Set([1, 2]);
  const cell = (tag, text, column) => make(tag, { class: numbers.has(column) ? "number" : null, scope: tag === "th" ? "col" : null }, text);
  const rows = report.rows.map((row) =>
    make("tr", {}, ...[row.page, String(row.clicks), String(row.page_loads), clock(Date.parse(row.first)), clock(Date.parse(row.last)), row.most_clicked]
      .map((text, column) => cell("td", text, column))));
  $("report").dataset.number = report.number;
  $("report").replaceChildren(
    make("caption", { id: "report-caption" }, `Report ${report.number}: offsets ${report.start} up to ${report.end}, ${plural(report.clicks, "click")}, in ${report.took_ms} ms.`),
    make("thead", {}, make("tr", {}, ...head.map((text, column) => cell("th", text, column)))),
    make("tbody", {}, ...rows));
}

/* --- system ----------------------------------------------------------------------------------------------------- */

function showLines() {
  $("lines").replaceChildren(...lines.slice(-LINES_MAX).reverse().map((line) =>
    make("li", { "data-offset": line.offset, "data-severity": line.severity },
      make("time", { datetime: new Date(line.time_ms).toISOString() }, clock(line.time_ms)),
      make("span", { class: "from", title: line.source }, line.program ?? line.source.split("/").at(-1)),
      make("span", { class: "message" }, line.message))));
}

function showSystem() {
  $("system-end").value = status.ends.system ?? 0;
  $("following").textContent = status.following.length ? `Following ${status.following.join(", ")}.` : "No event log can be read here.";
  $("notes").replaceChildren(...status.notes.map((note) => make("li", {}, note)));
}

/* --- the way of one click --------------------------------------------------------------------------------------- */

function step(name, state, text) {
  const item = document.querySelector(`[data-step="${name}"]`);
  if (item.dataset.state === state && item.lastChild.textContent === text) return;
  item.dataset.state = state;
  item.lastChild.textContent = text;
}

function showJourney() {
  if (!mine) return;
  step("sent", "done", `click ${mine.seq}, “${mine.label || mine.element}” on ${mine.page}, by ${mine.answered ? "fetch, for its answer" : "beacon"}`);
  const stored = clicks.find((click) => click.load === mine.load && click.seq === mine.seq);
  if (stored && mine.offset === undefined) Object.assign(mine, { offset: stored.offset, storedMs: stored.time_ms, tookMs: Math.round(performance.now() - mine.at) });
  if (mine.offset === undefined) return step("stored", "waiting", "on its way"), step("stream", "", "…"), step("batch", "", "…");
  step("stored", "done", `topic clicks, offset ${mine.offset}, seen here after ${mine.tookMs} ms` + (mine.answer ? `. Answer: ${mine.answer}` : ""));
  if (mine.storedMs !== undefined) {
    const second = Math.floor(mine.storedMs / 1000) * 1000;
    if (counted.has(`${second} ${mine.page}`)) mine.counted = `for ${mine.page}, in the window of ${clock(second)}`;
    step("stream", mine.counted ? "done" : "waiting", mine.counted ?? `the window of ${clock(second)} is open`);
  }
  if (report && report.end > mine.offset) mine.reported ??= `in report ${report.number}, which read up to offset ${report.end}`;
  step("batch", mine.reported ? "done" : "", mine.reported ?? "run a report, and this click is in it");
}

addEventListener("millstream:click", ({ detail }) => {
  mine = { ...detail, at: performance.now() };
  const button = detail.answered && document.querySelector(`[data-answer][data-click="${CSS.escape(detail.element)}"]`);
  if (button) button.setAttribute("aria-busy", "true");
  showJourney();
});

addEventListener("millstream:answer", ({ target, detail }) => {
  target.removeAttribute("aria-busy");
  const { jobs: put, report: number, error } = detail.answer ?? {};
  let text = "recorded";
  if (put) text = `jobs ${put.first} to ${put.last} are on the queue`;
  else if (number) text = `report ${number} is ready`;
  else if (error) text = error.message;
  target.dataset.answered = text;
  say(text);
  if (mine && mine.seq === detail.seq) { mine.answer = text; showJourney(); }
});

/* --- tabs of the small site ------------------------------------------------------------------------------------- */

const tabs = [...document.querySelectorAll("[role=tab]")];
function select(tab) {
  for (const other of tabs) {
    const chosen = other === tab;
    other.setAttribute("aria-selected", String(chosen));
    other.tabIndex = chosen ? 0 : -1;
    $(other.getAttribute("aria-controls")).hidden = !chosen;
  }
}
for (const tab of tabs) {
  tab.addEventListener("click", () => select(tab));
  tab.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (move) tabs.at((tabs.indexOf(tab) + move) % tabs.length).focus();
  });
}

/* --- events ----------------------------------------------------------------------------------------------------- */

const events = {
  snapshot(all) {
    ({ about, status, clicks, report } = all);
    aheadMs = Date.now() - all.now_ms;
    lines = all.system;
    counted = new Map();
    addWindows(all.windows);
    jobs = new Map(all.jobs.map((job) => [job.job, job]));
    $("log-path").textContent = about.log;
    $("failing").textContent = about.failing_piece;
    $("commands").textContent = about.commands.join("\n");
    showPicture(); showReport(); showLines(); showStatus();
    line("live", "live");
  },
  clicks(more) { clicks = [...clicks, ...more].slice(-2 * TAPE_MAX); showTape(); showJourney(); },
  windows(more) { addWindows(more); showRates(); showJourney(); },
  jobs: takeJobs,
  report(value) { report = value; showReport(); showTape(); showJourney(); },
  system(more) { lines = [...lines, ...more].slice(-LINES_MAX); showLines(); },
  status(value) { status = value; showStatus(); },
};

function showStatus() {
  showTape(); showRates(); showJourney();
  if (!status) return;
  showWorkers(); showSystem();
  $("topics").replaceChildren(...Object.entries(status.ends).map(([name, end]) =>
    make("li", { "data-topic": name, "data-end": end }, `${name} `, make("b", {}, String(end)))));
}

function line(state, text) {
  if ($("line").dataset.state !== state) $("line").dataset.state = state;
  if ($("line-text").textContent !== text) $("line-text").textContent = text;
}

const source = new EventSource("/events");
for (const [name, take] of Object.entries(events)) source.addEventListener(name, (event) => take(JSON.parse(event.data)));
source.addEventListener("bye", () => line("away", "the demo was stopped"));
source.addEventListener("error", () => line("away", "not connected, trying again"));

setInterval(() => {
  showRates();
  if ([...jobs.values()].some((job) => job.state === "retry")) showPicture();
}, 500);
