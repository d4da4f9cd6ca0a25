// The scenarios of the deployment guide (004) and of the crisis safety protocols (003), each sent many times, one after
// another: how long its answer took, and how long until the access document says what follows from it. Prints a line of
// JSON for each scenario and ends with 1 if one of them failed or was over its limit.

"use strict";

const crypto = require("node:crypto");
const Stripe = require("stripe");

const { KEEPWELL_URL, KEEPWELL_STRIPE_SECRET, KEEPWELL_APP_SECRET, KEEPWELL_ACCESS_TOKEN } = process.env;
const rounds = Number(process.argv[2]);

// Milliseconds: a crisis is answered within 200 (004), and the effect of a critical one is there within 100 (003).
const ANSWER_MS = 200;
const CRITICAL_MS = 100;
const HIGH_MS = 200;
const MODERATE_MS = 300;
const PATIENCE_MS = 10_000;

// It signs nothing with the key, and asks Stripe for nothing.
const stripe = new Stripe("sk_test_of_nobody");
const run = crypto.randomBytes(6).toString("hex");
const nowS = () => Math.floor(Date.now() / 1000);

async function post(path, body, headers) {
  const begun = performance.now();
  const answer = await fetch(KEEPWELL_URL + path, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body,
  });
  await answer.arrayBuffer();
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}`);
  return performance.now() - begun;
}

function sendEvent(id, type, object) {
  const payload = JSON.stringify({
    id, type, data: { object }, created: nowS(), livemode: false, pending_webhooks: 1,
    request: { id: null, idempotency_key: null }, api_version: "2020-08-27",
  });
  const signature = stripe.webhooks.generateTestHeaderString({ payload, secret: KEEPWELL_STRIPE_SECRET });
  return post("/api/webhooks/stripe", payload, { "stripe-signature": signature });
}

// As Standard Webhooks says; Stripe's package knows only Stripe's way.
function sendSignal(id, type, data) {
  const [body, at] = [JSON.stringify({ type, timestamp: nowS(), data }), String(nowS())];
  const key = Buffer.from(KEEPWELL_APP_SECRET.replace("whsec_", ""), "base64");
  const signature = crypto.createHmac("sha256", key).update(`${id}.${at}.${body}`).digest("base64");
  return post("/api/webhooks/app", body, {
    "webhook-id": id, "webhook-timestamp": at, "webhook-signature": `v1,${signature}`,
  });
}

async function access(customer) {
  const answer = await fetch(`${KEEPWELL_URL}/v1/customers/${customer}/access`, {
    headers: { authorization: `Bearer ${KEEPWELL_ACCESS_TOKEN}` },
  });
  if (!answer.ok) throw new Error(`the access document answered ${answer.status}`);
  return answer.json();
}

// Milliseconds from `begun` until the access document of `customer` is as `isThere` wants it.
async function effect(customer, begun, isThere) {
  for (;;) {
    if (isThere(await access(customer))) return performance.now() - begun;
    if (performance.now() - begun > PATIENCE_MS) throw new Error("the access document never said so");
  }
}

const inCrisis = (severity) => (document) => document.crisis.active && document.crisis.severity === severity;
const assessed = (data) => (id, customer) => sendSignal(id, "assessment.completed", { customer, ...data });
const pressed = (severity) => (id, customer) =>
  sendSignal(id, "crisis.signal", { customer, source: "button", severity });

// What is sent, what the access document says then, and what each may take.
const scenarios = {
  "subscription created": {
    send: (id, customer) =>
      sendEvent(id, "customer.subscription.created", { id: `sub_${id}`, customer, status: "active" }),
    isThere: (document) => document.subscription?.status === "active",
  },
  "payment failed": {
    send: (id, customer) => sendEvent(id, "invoice.payment_failed", { id: `in_${id}`, customer, attempt_count: 1 }),
    isThere: (document) => document.grace.active,
  },
  "crisis in metadata": {
    send: (id, customer) =>
      sendEvent(id, "customer.subscription.deleted", {
        id: `sub_${id}`, customer, status: "canceled", metadata: { crisisMode: "true" },
      }),
    isThere: inCrisis("high"), answerMs: ANSWER_MS, effectMs: HIGH_MS,
  },
  "critical button": {
    send: pressed("critical"), isThere: inCrisis("critical"), answerMs: ANSWER_MS, effectMs: CRITICAL_MS,
  },
  "moderate button": {
    send: pressed("moderate"), isThere: inCrisis("moderate"), answerMs: ANSWER_MS, effectMs: MODERATE_MS,
  },
  "PHQ-9 of 20": {
    send: assessed({ instrument: "phq9", score: 20 }), isThere: inCrisis("high"), answerMs: ANSWER_MS, effectMs: HIGH_MS,
  },
  "GAD-7 of 15": {
    send: assessed({ instrument: "gad7", score: 15 }), isThere: inCrisis("high"), answerMs: ANSWER_MS, effectMs: HIGH_MS,
  },
  "suicidal ideation": {
    send: assessed({ instrument: "phq9", score: 1, suicidal_ideation: true }),
    isThere: inCrisis("critical"), answerMs: ANSWER_MS, effectMs: CRITICAL_MS,
  },
  "emergency assessment": {
    send: assessed({ emergency: true }), isThere: inCrisis("critical"), answerMs: ANSWER_MS, effectMs: CRITICAL_MS,
  },
  "rehearsal of the health monitor": {
    send: () => post("/api/test/crisis-response", JSON.stringify({ test: true }), {}),
    isThere: () => true, answerMs: ANSWER_MS,
  },
};

function told(times) {
  const sorted = times.toSorted((one, other) => one - other);
  const at = (share) => Number(sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)].toFixed(2));
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}

async function play(name, number) {
  const { send, isThere, answerMs, effectMs } = scenarios[name];
  const [answers, effects] = [[], []];
  for (let round = 0; round < rounds; round += 1) {
    const id = `${run}_${number}_${round}`;
    const [customer, begun] = [`cus_staging_${id}`, performance.now()];
    answers.push(await send(`evt_staging_${id}`, customer));
    effects.push(await effect(customer, begun, isThere));
  }
  const [answer, followed] = [told(answers), told(effects)];
  const over = (answerMs && answer.max > answerMs) || (effectMs && followed.max > effectMs);
  console.log(JSON.stringify({
    scenario: name, rounds, answer_ms: answer, answer_limit_ms: answerMs ?? null, effect_ms: followed,
    effect_limit_ms: effectMs ?? null, ok: !over,
  }));
  return !over;
}

async function listening() {
  for (const until = performance.now() + PATIENCE_MS; ; ) {
    const health = await fetch(`${KEEPWELL_URL}/health`).catch(() => null);
    if (health?.ok) return;
    if (performance.now() > until) throw new Error(`${KEEPWELL_URL} does not listen`);
    await new Promise((resume) => setTimeout(resume, 50));
  }
}

async function main() {
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error("how many rounds?");
  await listening();
  let failed = 0;
  for (const [number, name] of Object.keys(scenarios).entries()) {
    const ok = await play(name, number).catch((error) => {
      console.log(JSON.stringify({ scenario: name, ok: false, error: error.message }));
      return false;
    });
    failed += ok ? 0 : 1;
  }
  if (failed > 0) {
    console.error(`${failed} of ${Object.keys(scenarios).length} scenarios failed or were over their limits`);
    process.exitCode = 1;
  }
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
