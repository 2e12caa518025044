// As cloudevents_flow.py with npm `cloudevents`: made by it, published, delivered, and read again by it.
// Usage: cloudevents_flow.mjs SERVER_URL TOKEN SINK_URL CORPUS; the package is looked up below
// HOOKLOG_NODE_MODULES.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { setTimeout as pause } from "node:timers/promises";

const require = createRequire(`${process.env.HOOKLOG_NODE_MODULES}/`);
const { CloudEvent, HTTP } = require("cloudevents");
const { version } = JSON.parse(readFileSync(require.resolve("cloudevents/package.json"), "utf8"));
const [SERVER, TOKEN, SINK, CORPUS] = process.argv.slice(2);
const MODES = ["payload", "cloudEventsBinary", "cloudEventsStructured"];

const call = (path, headers, body) => {
  const authorization = `Bearer ${TOKEN}`;
  return fetch(`${SERVER}/api/v1/app${path}`, { method: "POST", headers: { authorization, ...headers }, body });
};

const create = async (path, body) => {
  const answer = await call(path, { "content-type": "application/json" }, JSON.stringify(body));
  assert.equal(answer.status, 201, await answer.text());
};

const publish = async ({ headers, body }) => {
  const answer = await call("/clouds/event", headers, body);
  const text = await answer.text();
  assert.equal(answer.status, 202, text);
  return JSON.parse(text);
};

// The library sends no value encoded, so beyond ASCII there are only those of the structured mode.
const samples = function* (words) {
  const whole = { subject: words, dataschema: "https://example.com/schema#1", partitionkey: "customer 7", flag: "x y" };
  whole.time = "2026-03-04T05:06:07.890Z";
  yield { ...whole, datacontenttype: "application/json", data: { note: "Grüße 😀", z: 1, a: [1.5, null, true] } };
  yield { datacontenttype: "application/vnd.example+json; charset=utf-8", data: '{"b":1.00e5, "a":[ ]}' };
  yield { ...whole, datacontenttype: "application/xml", data: "<order id='7'>\n  Grüße</order>\n" };
  yield { datacontenttype: "application/octet-stream", data: Uint8Array.from({ length: 256 }, (_, n) => n) };
  yield { datacontenttype: "text/plain", data: "plain" };
  for (const line of readFileSync(CORPUS, "utf8").trimEnd().split("\n").filter((_, n) => n % 40 === 0)) {
    const { eventType, payload } = JSON.parse(line);
    yield { type: eventType, datacontenttype: "application/json", data: payload };
  }
};

const events = (kind, words) =>
  [...samples(words)].map((sample, number) => {
    const needed = { id: `${kind} ${number}`, source: "/tests/clouds", type: "com.example.made" };
    return new CloudEvent({ ...needed, ...sample });
  });

const delivered = async (count) => {
  for (const deadline = Date.now() + 20_000; ; await pause(20)) {
    const all = await (await fetch(SINK)).json();
    if (all.length < count) {
      assert(Date.now() < deadline, `${all.length} deliveries instead of ${count}`);
      continue;
    }
    const modes = Object.fromEntries(MODES.map((mode) => [mode, new Map()]));
    for (const { headers, body } of all) {
      const [mode, name] = [headers["x-mode"], headers["webhook-id"]];
      assert(!modes[mode].has(name), `${name} came twice to ${mode}`);
      modes[mode].set(name, { headers, body: Buffer.from(body, "base64") });
    }
    return modes;
  }
};

const attributes = ({ data, data_base64, ...rest }, read = (value) => value) => {
  const told = Object.entries(rest).filter(([, value]) => value !== undefined);
  return Object.fromEntries(told.map(([name, value]) => [name, read(value)]));
};

// Binary data comes out of the library as an array of its bytes, one way or another.
const bytes = ({ data }) => (typeof data === "object" && "length" in data ? [...data] : data);

const check = async (sent) => {
  const modes = await delivered(3 * sent.size);
  for (const [name, { event, body }] of sent) {
    const [payload, binary, structured] = MODES.map((mode) => modes[mode].get(name));
    assert(payload.body.equals(body) && binary.body.equals(body), `${name}: other bytes`);
    const isBinary = event.datacontenttype === "application/octet-stream";
    const fromBinary = HTTP.toEvent({ ...binary, body: isBinary ? binary.body : binary.body.toString() });
    // It leaves headers encoded.
    assert.deepEqual(attributes(fromBinary, decodeURIComponent), attributes(event));
    const fromStructured = HTTP.toEvent({ ...structured, body: structured.body.toString() });
    assert.deepEqual(attributes(fromStructured), attributes(event));
    // Data of other kinds of JSON the library leaves as a text, and others give it back as a value.
    const isOtherJson = event.datacontenttype.includes("+json");
    const expected = isOtherJson ? JSON.parse(event.data) : bytes(event);
    assert.deepEqual(isOtherJson ? JSON.parse(fromBinary.data) : bytes(fromBinary), expected);
    assert.deepEqual(bytes(fromStructured), expected);
  }
};

console.log("cloudevents", version);
await create("", { name: "Clouds", uid: "clouds" });
for (const mode of MODES) await create("/clouds/endpoint", { url: SINK, format: mode, headers: { "x-mode": mode } });
const sent = new Map();
for (const event of events("binary", 'some "words", 100 & more')) {
  const message = HTTP.binary(event);
  const { id } = await publish(message);
  assert.equal((await publish(message)).id, id, "source and id make it unique");
  sent.set(id, { event, body: Buffer.from(message.body) });
}
const isOtherJson = (event) => event.datacontenttype.includes("+json");
for (const event of events("structured", 'Grüße, 100 % "quoted" 😀').filter((event) => !isOtherJson(event))) {
  const { id } = await publish(HTTP.structured(event));
  sent.set(id, { event, body: Buffer.from(HTTP.binary(event).body) });
}
// The library makes no batches, but reads them; a batch is an array of what it makes.
const batch = events("batch", "Wörter").filter((event) => !isOtherJson(event));
const headers = { "content-type": "application/cloudevents-batch+json" };
const body = `[${batch.map((event) => HTTP.structured(event).body).join(",\n")}]`;
assert.deepEqual(HTTP.toEvent({ headers, body }).map(({ id }) => id), batch.map(({ id }) => id));
const answer = await publish({ headers, body });
assert.deepEqual([answer.published, answer.failed], [batch.length, 0]);
batch.forEach((event, n) => sent.set(answer.data[n].id, { event, body: Buffer.from(HTTP.binary(event).body) }));
await check(sent);
console.log(sent.size, "events");
console.log("all steps passed");
