/* Millstream's click tracker: no cookies, no third party, nothing but clicks.

     <script src="/static/tracker.js" data-collector="/collect" defer></script>
     <button data-click="buy">Buy</button>                    sent by beacon; the page goes on
     <button data-click="order" data-answer>Order</button>    the collector's answer comes as the event "millstream:answer"

   An element inside [data-page] counts for that page; otherwise the address's path is the page. Labels are the element's
   data-label or its text; what people type is never read. Every click is numbered, and kept until the collector says
   that it is in the log: a click whose beacon got lost is sent again, and the collector knows it by its number. */
(() => {
  "use strict";

  const collector = document.currentScript?.dataset.collector ?? "/collect";
  const BYTES_MAX = 60_000; // browsers let beacons carry 64 KiB at a time
  const CLICKS_MAX = 400; // of one request; the collector takes 500
  const QUEUE_MAX = 5_000; // hours of clicking without a network
  const CONFIRM_MS = 1_000; // by then a beacon has arrived
  const RETRY_MS_MAX = 30_000;

  const load = Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, "0")).join("");
  const queue = []; // clicks not known to be in the log, oldest first
  let last = 0;
  let failures = 0;
  let timer = 0;
  let asking = false;

  const cut = (text, length) => Array.from(text.replace(/\s+/g, " ").trim()).slice(0, length).join("");

  const describe = (target) => {
    const named = target.closest("[data-click]") ?? target.closest("a, button, summary, label, [role=button]") ?? target;
    const readable = named !== target || named.matches("[data-click], a, button, summary, label");
    return {
      named,
      element: cut(named.dataset?.click ?? named.localName + (named.id ? `#${named.id}` : ""), 100),
      label: cut(named.dataset?.label ?? named.getAttribute("aria-label") ?? (readable ? named.textContent : "") ?? "", 100),
      page: Array.from(target.closest("[data-page]")?.dataset.page ?? location.pathname).slice(0, 1_000).join(""),
    };
  };

  const body = (clicks, ask = []) =>
    JSON.stringify({
      load,
      clicks: clicks.map(({ seq, page, element, label, at }) => ({
        seq, page, element, label, age_ms: Math.max(0, Math.round(performance.now() - at)),
      })),
      ask,
    });

  const take = (clicks) => {
    let count = Math.min(clicks.length, CLICKS_MAX);
    while (count > 1 && new Blob([body(clicks.slice(0, count))]).size > BYTES_MAX) count = Math.ceil(count / 2);
    return clicks.slice(0, count);
  };

  const beacon = (alsoFlying = false) => {
    for (;;) {
      const clicks = take(queue.filter((click) => !click.beaconed && (alsoFlying || !click.flying)));
      if (!clicks.length) return true;
      if (!navigator.sendBeacon?.(collector, body(clicks))) return false;
      for (const click of clicks) click.beaconed = true;
    }
  };

  const later = (ms) => {
    clearTimeout(timer);
    timer = setTimeout(settle, ms);
  };

  /* Send what no beacon took, with all before it, so that a lost beacon cannot change the order; else ask what arrived.
     After it the queue is empty, or is tried again later. */
  async function settle() {
    if (asking || !queue.length) return;
    asking = true;
    clearTimeout(timer);
    const unsent = queue.some((click) => !click.beaconed);
    const clicks = unsent ? take(queue) : [];
    const asked = unsent ? [] : queue.slice(0, CLICKS_MAX);
    let wait = 0;
    for (const click of clicks) click.flying = true;
    try {
      const response = await fetch(collector, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: body(clicks, asked.map((click) => click.seq)),
        keepalive: true,
      });
      if (response.ok) {
        failures = 0;
        settled(clicks, asked, await response.json());
      } else if (response.status === 400 || response.status === 413) {
        drop(clicks); // the same again would be refused again
        console.error(`millstream: the collector refused clicks: ${response.status}`);
      } else {
        wait = 1_000 * Number(response.headers.get("retry-after") ?? 0);
        failures += 1;
      }
    } catch {
      failures += 1; // offline, or the server is away
    }
    for (const click of clicks) click.flying = false;
    asking = false;
    if (failures) later(Math.max(wait, Math.min(RETRY_MS_MAX, 500 * 2 ** Math.min(failures, 8)) * (0.5 + Math.random() / 2)));
    else if (queue.length) later(queue.some((click) => !click.beaconed) ? 0 : CONFIRM_MS);
  }

  function settled(clicks, asked, receipt) {
    const missing = new Set(receipt.missing);
    for (const click of asked) if (missing.has(click.seq)) click.beaconed = false;
    drop(clicks);
    drop(asked.filter((click) => !missing.has(click.seq)));
    for (const click of clicks) {
      const answer = receipt.answers[click.seq];
      const detail = { seq: click.seq, load, element: click.element, offset: receipt.offsets[click.seq], answer };
      if (click.answered) click.target.dispatchEvent(new CustomEvent("millstream:answer", { bubbles: true, detail }));
    }
  }

  function drop(clicks) {
    const gone = new Set(clicks);
    queue.splice(0, queue.length, ...queue.filter((click) => !gone.has(click)));
  }

  /* The page may never run again: hand over everything, also what a request under way carries. The collector knows both. */
  function leave() {
    if (!beacon(true)) settle();
  }

  addEventListener(
    "click",
    (event) => {
      if (!event.isTrusted || !(event.target instanceof Element)) return; // scripts click too; people are counted
      if (queue.length >= QUEUE_MAX) return console.warn("millstream: too many clicks wait for the collector");
      const { named, ...words } = describe(event.target);
      const answered = named.hasAttribute?.("data-answer") ?? false;
      const click = { ...words, seq: ++last, at: performance.now(), target: named, answered, beaconed: false, flying: false };
      queue.push(click);
      dispatchEvent(new CustomEvent("millstream:click", { detail: { ...words, seq: click.seq, load, answered } }));
      if (answered) later(0);
      else if (failures) return; // the next try is set, and keeps the order
      else later(beacon() ? CONFIRM_MS : 0);
    },
    { capture: true },
  );
  addEventListener("online", () => later(0));
  addEventListener("pageshow", (event) => event.persisted && later(0));
  addEventListener("pagehide", leave);
  document.addEventListener("visibilitychange", () => document.visibilityState === "hidden" && leave());
})();
