// Goes through every method of the npm `svix` SDK, unmodified, as svix_flow.py does with that of PyPI.
// Usage: svix_flow.mjs SERVER_URL TOKEN SINK_URL CORPUS; the package is looked up below HOOKLOG_NODE_MODULES.
// CORPUS has real events, one message a line.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { setTimeout as pause } from "node:timers/promises";

const require = createRequire(`${process.env.HOOKLOG_NODE_MODULES}/`);
const { ApiException, Svix, Webhook, messageInRaw } = require("svix");
const VERSION = JSON.parse(readFileSync(require.resolve("svix/package.json"), "utf8")).version;
const [SERVER, TOKEN, SINK, CORPUS] = process.argv.slice(2);
const LONG_AGO = new Date("2020-01-01T00:00:00Z");
const OWN_SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

// What is not offered, by the beginnings of its methods' names: each of them answers 501.
const ABSENT = [
  "authentication.getStreamPollerToken",
  "authentication.rotateStreamPollerToken",
  "authentication.stream",
  "autoconfigSubscription.",
  "connector.",
  "destination.",
  "endpoint.transformation",
  "environment.",
  "ingest.",
  "integration.",
  "statistics.aggregateEventTypes",
  "streaming.",
];

const called = new Set();

// The SDK makes dates of whatever it finds: of a field that is missing an invalid one.
const checkDates = (value, path) => {
  if (value instanceof Date) assert(!Number.isNaN(value.getTime()), `${path} is no time`);
  else if (value !== null && typeof value === "object")
    for (const [key, inner] of Object.entries(value)) checkDates(inner, `${path}.${key}`);
};

// The names of a part's methods and of its own parts.
const members = (part) => {
  const all = Object.entries(Object.getOwnPropertyDescriptors(Object.getPrototypeOf(part)));
  const methods = all.filter(([name, found]) => name !== "constructor" && found.value).map(([name]) => name);
  return { methods, parts: all.filter(([, found]) => found.get).map(([name]) => name) };
};

const allMethods = (part, path = "") => {
  const { methods, parts } = members(part);
  return [...methods.map((name) => path + name), ...parts.flatMap((name) => allMethods(part[name], `${path}${name}.`))];
};

// A part of the SDK whose methods are called as they are and kept by name.
const record = (part, path = "") =>
  new Proxy(part, {
    get(_, name) {
      if (typeof part[name] !== "function") return record(part[name], `${path}${name}.`);
      const call = async (...given) => {
        called.add(path + name);
        const answer = await part[name](...given);
        checkDates(answer, path + name);
        return answer;
      };
      return Object.assign(call, { arity: part[name].length });
    },
  });

// The SDK would repeat what is answered with 501, too; here every answer counts.
const client = (token) => record(new Svix(token, { serverUrl: SERVER, retryScheduleInMs: [] }));
const svix = client(TOKEN);

const fails = async (status, code, promise) => {
  const error = await promise.then(
    () => assert.fail(`${status} expected, but the call succeeded`),
    (error) => error,
  );
  assert(error instanceof ApiException, error);
  // What is above 499 comes unparsed.
  const body = typeof error.body === "string" ? JSON.parse(error.body) : error.body;
  assert.deepEqual([error.code, body.code], [status, code], JSON.stringify(body));
  if (status === 422) assert(body.detail[0].loc.length >= 1 && body.detail[0].msg && body.detail[0].type);
  else assert.equal(typeof body.detail, "string");
  return body;
};

const until = async (what, look) => {
  const deadline = Date.now() + 20_000;
  for (let wait = 10; ; wait = Math.min(2 * wait, 200)) {
    const found = await look();
    if (found) return found;
    assert(Date.now() < deadline, `no ${what} within 20 s`);
    await pause(wait);
  }
};

const deliveries = async () => {
  const all = await (await fetch(SINK)).json();
  return all.map(({ headers, body }) => ({ headers, body: Buffer.from(body, "base64") }));
};
const recorded = async (id) => (await deliveries()).filter(({ headers }) => headers["svix-id"] === id);

const ids = (page) => page.data.map((item) => item.id ?? item.name);

// Reads a list to its end by `iterator` and back by `prevIterator`: the same pages, every item once.
const bothWays = async (list) => {
  const there = [await list({ limit: 2 })];
  while (!there.at(-1).done) there.push(await list({ limit: 2, iterator: there.at(-1).iterator }));
  let back = there.at(-1);
  for (const expected of there.slice(0, -1).reverse()) {
    back = await list({ limit: 2, iterator: back.prevIterator });
    assert.deepEqual(ids(back), ids(expected));
  }
  const found = there.flatMap(ids);
  assert(there.length > 1 && back.done && new Set(found).size === found.length);
  return found;
};

const applications = async () => {
  const { application } = svix;
  const first = await application.create({ name: "First", uid: "first", metadata: { plan: "free" } });
  assert.deepEqual(await application.get("first"), first);
  assert.deepEqual(await application.get(first.id), first);
  assert.equal((await application.getOrCreate({ name: "Other", uid: "first" })).id, first.id);
  const limited = await application.patch("first", { throttleRate: 100 });
  assert.deepEqual([limited.throttleRate, limited.name], [100, "First"]);
  assert.equal((await application.patch("first", { name: "1st" })).throttleRate, 100, "what is absent stays");
  assert.equal((await application.patch("first", { throttleRate: null })).throttleRate, null, "what is null goes");
  const put = await application.upsert("first", { name: "First", uid: "first" });
  assert.deepEqual([put.id, put.name, put.metadata], [first.id, "First", {}]);
  for (const n of [1, 2, 3]) await application.upsert(`other-${n}`, { name: "Other", uid: `other-${n}` });
  const all = await bothWays((options) => application.list(options));
  const turned = await bothWays((options) => application.list({ ...options, order: "descending" }));
  assert.deepEqual([all.length, turned], [4, all.toReversed()]);
  const once = { idempotencyKey: "once" };
  const made = await application.create({ name: "Once" }, once);
  assert.deepEqual(await application.create({ name: "Once" }, once), made);
  for (const id of ["other-1", "other-2", "other-3", made.id]) await application.delete(id);
  await fails(409, "conflict", application.create({ name: "Taken", uid: "first" }));
  await fails(404, "not_found", application.get("other-1"));
  const wrong = await fails(422, undefined, application.create({ name: "Bad", uid: "no spaces" }));
  assert.deepEqual(wrong.detail[0].loc, ["body", "uid"]);
  await fails(422, undefined, application.list({ limit: 251 }));
};

const eventTypes = async () => {
  const { eventType } = svix;
  const schemas = { 1: { examples: [{ amount: 1 }] } };
  for (const name of ["invoice.paid", "invoice.sent"]) await eventType.create({ name, description: "", schemas });
  await fails(409, "conflict", eventType.create({ name: "invoice.paid", description: "" }));
  await eventType.upsert("order.made", { description: "One", featureFlags: ["beta"] });
  const patched = await eventType.patch("order.made", { groupName: "order" });
  assert.deepEqual([patched.description, patched.groupName, patched.featureFlags], ["One", "order", ["beta"]]);
  const names = await bothWays((options) => eventType.list(options));
  assert.deepEqual(names.toSorted(), ["invoice.paid", "invoice.sent", "order.made"]);
  const shown = await eventType.list({ withContent: true });
  assert.deepEqual(shown.data.find(({ name }) => name === "invoice.paid").schemas, schemas);
  await eventType.delete("order.made");
  assert.equal((await eventType.get("order.made")).archived, true);
  assert(!ids(await eventType.list()).includes("order.made"));
  assert(ids(await eventType.list({ includeArchived: true })).includes("order.made"));
  await eventType.delete("order.made", { expunge: true });
  await fails(404, "not_found", eventType.get("order.made"));
  const spec = { openapi: "3.1.0", webhooks: { "order.made": { post: { summary: "One", deprecated: true } } } };
  const dry = (await eventType.importOpenapi({ spec, dryRun: true })).data;
  assert.deepEqual([dry.modified, dry.toModify.map(({ name }) => name)], [[], ["order.made"]]);
  await fails(404, "not_found", eventType.get("order.made"));
  const { modified } = (await eventType.importOpenapi({ specRaw: JSON.stringify(spec) })).data;
  assert.deepEqual(modified, ["order.made"]);
  const made = await eventType.get("order.made");
  assert.deepEqual([made.description, made.deprecated], ["One", true]);
  await fails(400, "generic_error", eventType.importOpenapi({}));
  await eventType.delete("order.made", { expunge: true });
};

const endpoints = async () => {
  const { endpoint } = svix;
  const made = await endpoint.create("first", { url: SINK, uid: "sink", eventTypes: ["invoice.paid"], metadata: { a: "b" } });
  assert.deepEqual(await endpoint.get("first", "sink"), made);
  const patched = await endpoint.patch("first", "sink", { description: "Patched", throttleRate: 500 });
  assert.deepEqual([patched.id, patched.eventTypes, patched.throttleRate], [made.id, ["invoice.paid"], 500]);
  assert.equal((await endpoint.patch("first", "sink", { throttleRate: null })).throttleRate, null);
  for (const n of [1, 2, 3]) await endpoint.upsert("first", `put-${n}`, { url: SINK, channels: ["never"], uid: `put-${n}` });
  assert.equal((await bothWays((options) => endpoint.list("first", options))).length, 4);
  for (const n of [1, 2, 3]) await endpoint.delete("first", `put-${n}`);
  await fails(404, "not_found", endpoint.get("first", "put-1"));
  await fails(422, undefined, endpoint.create("first", { url: "no url" }));
  await endpoint.setHeaders("first", "sink", { headers: { "X-One": "1", Authorization: "hidden" } });
  await endpoint.patchHeaders("first", "sink", { headers: { "X-Two": "2" } });
  const headers = await endpoint.getHeaders("first", "sink");
  assert.deepEqual([headers.headers, headers.sensitive], [{ "X-One": "1", "X-Two": "2" }, ["Authorization"]]);
  await endpoint.rotateSecret("first", "sink", { key: OWN_SECRET });
  assert.equal((await endpoint.getSecret("first", "sink")).key, OWN_SECRET);
  const example = await endpoint.sendExample("first", "sink", { eventType: "invoice.paid" });
  await until("example", async () => (await recorded(example.id)).length);
  const stats = () => endpoint.getStats("first", "sink", { since: new Date(Date.now() - 60_000), until: new Date() });
  await until("stats", async () => (await stats()).success === 1);
  return made;
};

const messages = async (endpoint) => {
  const { message, messageAttempt } = svix;
  const payload = { amount: 700, note: 'Grüße "quoted" 😀', nested: { z: 1, a: [1, 2.5, null] } };
  const given = { eventType: "invoice.paid", payload, eventId: "event-1", channels: ["main"], tags: ["t"] };
  const sent = await message.create("first", given, { withContent: true });
  assert.deepEqual([sent.payload, sent.channels, sent.tags], [payload, ["main"], ["t"]]);
  for (const name of [sent.id, "event-1"])
    assert.deepEqual(await message.get("first", name, { withContent: true }), sent);
  assert.deepEqual((await message.get("first", sent.id)).payload, {});
  await fails(409, "conflict", message.create("first", given));
  await fails(404, "not_found", message.create("absent", given));
  const once = { idempotencyKey: "order 1, paid" };
  const order = { eventType: "invoice.sent", payload: { order: 1 } };
  const first = await message.create("first", order, once);
  assert.deepEqual(await message.create("first", order, once), first);
  await fails(422, undefined, message.create("first", { ...order, payload: { order: 2 } }, once));
  await message.create("first", messageInRaw("invoice.sent", "<order id='1'/>", "application/xml"));
  const list = (options) => message.list("first", options);
  assert.equal((await bothWays(list)).length, 4);
  for (const filter of [{ channel: "main" }, { tag: "t" }]) assert.deepEqual(ids(await list(filter)), [sent.id]);
  assert.equal((await list({ eventTypes: ["invoice.sent", "other"] })).data.length, 2);
  assert.equal((await list({ before: LONG_AGO })).data.length, 0);
  assert.equal((await list({ after: LONG_AGO })).data.length, 4);
  assert.equal((await message.precheck("first", { eventType: "invoice.paid" })).active, true);
  assert.equal((await message.precheck("first", { eventType: "invoice.sent" })).active, false);

  const [delivery] = await until("delivery", async () => {
    const all = await recorded(sent.id);
    return all.length && all;
  });
  new Webhook(OWN_SECRET).verify(delivery.body, delivery.headers);
  assert.deepEqual(JSON.parse(delivery.body), payload);
  const attempts = () => messageAttempt.listByMsg("first", sent.id, { withContent: true });
  const [attempt] = (await until("attempt", async () => (await attempts()).data.length && attempts())).data;
  assert.deepEqual([attempt.status, attempt.statusText, attempt.responseStatusCode], [0, "success", 204]);
  assert.deepEqual(await messageAttempt.get("first", sent.id, attempt.id), attempt);
  await messageAttempt.resend("first", sent.id, endpoint.id);
  await until("second attempt", async () => (await attempts()).data.length === 2);
  const of = (options) => messageAttempt.listByEndpoint("first", "sink", options);
  assert.equal((await bothWays(of)).length, 3);
  const cases = [[{ status: 0 }, 3], [{ status: 2 }, 0], [{ statusCodeClass: 200 }, 3], [{ statusCodeClass: 500 }, 0]];
  const withMessage = (await of({ withMsg: true, tag: "t" })).data[0];
  assert.deepEqual([withMessage.msg.id, withMessage.msg.payload, withMessage.msg.tags], [sent.id, {}, ["t"]]);
  cases.push([{ tag: "t" }, 2], [{ channel: "main" }, 2], [{ eventTypes: ["invoice.paid"] }, 3], [{ before: LONG_AGO }, 0]);
  for (const [filter, count] of cases) assert.equal((await of(filter)).data.length, count, JSON.stringify(filter));
  const attempted = await messageAttempt.listAttemptedMessages("first", "sink", { tag: "t", withContent: true });
  assert.deepEqual([ids(attempted), attempted.data[0].payload], [[sent.id], payload]);
  assert.deepEqual(ids(await messageAttempt.listAttemptedDestinations("first", sent.id)), [endpoint.id]);
  await messageAttempt.expungeContent("first", sent.id, attempt.id);
  assert.equal((await messageAttempt.get("first", sent.id, attempt.id)).response, "EXPUNGED");
  await message.expungeContent("first", sent.id);
  assert.deepEqual((await message.get("first", sent.id, { withContent: true })).payload, { expired: true });
  await fails(400, "missing_payload", messageAttempt.resend("first", sent.id, endpoint.id));
  const { results } = await message.bulkExpungeContent("first", { ids: [first.id, "absent"] });
  assert.deepEqual(results, { [first.id]: "expunged", absent: "not-found" });
};

const polled = async () => {
  const { poller } = svix.message;
  await svix.application.create({ name: "Polled", uid: "polled" });
  const all = [];
  for (const n of [1, 2, 3, 4]) all.push((await svix.message.create("polled", { eventType: "x", payload: { n } })).id);
  assert.deepEqual(ids(await poller.poll("polled", "all", { limit: 250, eventType: "x", after: LONG_AGO })), all);
  const page = await poller.consumerPoll("polled", "all", "one", { limit: 3 });
  assert.deepEqual([ids(page), page.done, page.data[0].payload], [all.slice(0, 3), false, { n: 1 }]);
  const rest = await poller.consumerPoll("polled", "all", "one", { iterator: page.iterator });
  assert.deepEqual([ids(rest), rest.done], [all.slice(3), true]);
  assert((await poller.consumerSeek("polled", "all", "one", { after: LONG_AGO })).iterator);
  assert.deepEqual(ids(await poller.consumerPoll("polled", "all", "one")), all);
  await svix.application.delete("polled");
};

const tasks = async () => {
  await svix.application.create({ name: "Tasks", uid: "tasks" });
  await svix.endpoint.create("tasks", { url: `${SINK}/status/500`, uid: "sick" });
  const sent = await svix.message.create("tasks", { eventType: "replayed", payload: {} });
  await until("failure", async () => (await svix.endpoint.getStats("tasks", "sick")).fail === 1);
  await svix.endpoint.patch("tasks", "sick", { url: SINK });
  await svix.endpoint.create("tasks", { url: SINK, uid: "late" });
  const cases = [["recover", "sick", "endpoint.recover"], ["replayMissing", "late", "endpoint.replay"]];
  for (const [method, uid, type] of [...cases, ["bulkReplay", "late", "endpoint.bulk-replay"]]) {
    const before = (await recorded(sent.id)).length;
    const task = await svix.endpoint[method]("tasks", uid, { since: LONG_AGO });
    const ended = await until(type, async () => {
      const shown = await svix.backgroundTask.get(task.id);
      return shown.status !== "running" && shown;
    });
    assert.deepEqual([ended.status, ended.task, task.task], ["finished", type, type]);
    await until("one more delivery", async () => (await recorded(sent.id)).length === before + 1);
  }
  const counting = { since: LONG_AGO, until: new Date(), appIds: ["tasks", "absent"] };
  const usage = await svix.statistics.aggregateAppStats(counting);
  assert.deepEqual(usage.unresolvedAppIds, ["absent"]);
  const counts = await until("count", async () => {
    const task = await svix.backgroundTask.get(usage.id);
    return task.status === "finished" && task.data.appStats;
  });
  assert.equal(counts[0].appUid, "tasks");
  assert(counts[0].messageDestinations >= 1);
  assert.equal((await bothWays((options) => svix.backgroundTask.list(options))).length, 4);
  const some = await svix.backgroundTask.list({ status: "finished", task: "endpoint.replay" });
  assert.equal(some.data.length, 1);
  const purge = await svix.message.expungeAllContents("tasks");
  assert.deepEqual([purge.status, purge.task], ["finished", "application.purge_content"]);
  const gone = await svix.message.list("tasks", { withContent: true });
  assert(gone.data.length);
  for (const { payload } of gone.data) assert.deepEqual(payload, { expired: true });
  await svix.application.delete("tasks");
};

const operationalWebhooks = async () => {
  const { endpoint } = svix.operationalWebhook;
  const made = await endpoint.create({ url: SINK, uid: "ops", eventTypes: ["endpoint.disabled"] });
  assert.deepEqual([await endpoint.get("ops"), ids(await endpoint.list())], [made, [made.id]]);
  await endpoint.upsert("ops", { url: SINK, uid: "ops", eventTypes: ["endpoint.created"] });
  await endpoint.setHeaders("ops", { headers: { "X-Operator": "on call" } });
  assert.deepEqual((await endpoint.getHeaders("ops")).headers, { "X-Operator": "on call" });
  await endpoint.rotateSecret("ops", { key: OWN_SECRET });
  assert.equal((await endpoint.getSecret("ops")).key, OWN_SECRET);
  const heard = await svix.endpoint.create("first", { url: SINK, disabled: true });
  const told = ({ headers, body }) => headers["x-operator"] && body.includes(heard.id);
  await until("word of the endpoint", async () => (await deliveries()).some(told));
  await endpoint.delete("ops");
};

// Real payloads, as the SDK writes them (JSON.stringify), and as texts that it does not touch.
const corpus = async () => {
  await svix.application.create({ name: "Corpus", uid: "corpus" });
  await svix.endpoint.create("corpus", { url: SINK, uid: "all" });
  const text = /^\{"eventType":"([^"]+)","payload":(.*)\}$/;
  const lines = readFileSync(CORPUS, "utf8").trimEnd().split("\n");
  const given = lines.flatMap((line, number) => {
    const [, eventType, payload] = text.exec(line);
    const raw = { message: messageInRaw(eventType, payload), bytes: payload };
    const message = JSON.parse(line);
    const own = { message, bytes: JSON.stringify(message.payload) };
    return number % 8 === 0 ? [raw, own] : [raw];
  });
  const count = given.length;
  const sent = new Map();
  const sender = async () => {
    for (let next = given.pop(); next; next = given.pop())
      sent.set((await svix.message.create("corpus", next.message)).id, next.bytes);
  };
  await Promise.all(Array.from({ length: 8 }, sender));
  assert(sent.size === count && count > lines.length);
  await until("corpus", async () => (await svix.endpoint.getStats("corpus", "all")).success === sent.size);
  const arrived = (await deliveries()).filter(({ headers }) => sent.has(headers["svix-id"]));
  assert.equal(arrived.length, sent.size);
  for (const { headers, body } of arrived)
    assert(body.equals(Buffer.from(sent.get(headers["svix-id"]))), `${headers["svix-id"]}: other bytes`);
  // And asked for.
  let page = await svix.message.poller.poll("corpus", "all", { limit: 250 });
  for (; ; page = await svix.message.poller.poll("corpus", "all", { limit: 250, iterator: page.iterator })) {
    for (const { id, payload } of page.data) assert.deepEqual(payload, JSON.parse(sent.get(id)));
    if (page.done) break;
  }
  await svix.application.delete("corpus");
};

const portal = async () => {
  const { authentication } = svix;
  const customer = client((await authentication.appPortalAccess("first", { expiry: 3600 })).token);
  assert.equal((await customer.application.get("first")).uid, "first");
  await customer.endpoint.patch("first", "sink", { description: "Theirs" });
  await fails(403, "insufficient access", customer.application.list());
  await fails(403, "insufficient access", customer.message.create("first", { eventType: "x", payload: {} }));
  await fails(404, "not_found", customer.message.list("other"));
  const other = client((await authentication.appPortalAccess("first", {})).token);
  const ofSession = async (sessionId) => (await authentication.appPortalAccess("first", { sessionId })).token;
  const [one, two] = [client(await ofSession("one")), client(await ofSession("two"))];
  await authentication.expireAll("first", { sessionIds: ["one"] });
  await fails(401, "authentication_failed", one.endpoint.list("first"));
  assert((await two.endpoint.list("first")).data.length);
  await customer.authentication.logout();
  await fails(401, "authentication_failed", customer.endpoint.list("first"));
  assert((await other.endpoint.list("first")).data.length);
  await authentication.expireAll("first", {});
  await fails(401, "authentication_failed", other.endpoint.list("first"));
  await fails(401, "authentication_failed", client("no.such.token").application.list());
};

const nothingIsLeftOut = async () => {
  // Good for a part of a path and for a body.
  const anything = Object.assign(new String("x"), { events: [] });
  const all = allMethods(new Svix(TOKEN, { serverUrl: SERVER }));
  const absent = all.filter((name) => ABSENT.some((start) => name.startsWith(start)));
  const leftOut = all.filter((name) => !absent.includes(name) && !called.has(name));
  assert.deepEqual(leftOut, [], "neither called nor known to be absent");
  for (const name of absent) {
    const call = name.split(".").reduce((part, step) => part[step], svix);
    await fails(501, "not_implemented", call(...Array(call.arity).fill(anything)));
  }
  console.log(`${all.length} methods, ${absent.length} of them absent`);
};

console.log("svix", VERSION);
await applications();
await eventTypes();
await messages(await endpoints());
await polled();
await tasks();
await operationalWebhooks();
await portal();
await corpus();
assert.equal((await svix.health.get()) ?? null, null);
await nothingIsLeftOut();
console.log("all steps passed");
