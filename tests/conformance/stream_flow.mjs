// Follows a stream with npm `eventsource`, unmodified: its connection breaks, it comes again by itself with
// `Last-Event-ID`, and no event is missing or comes twice.
// Usage: stream_flow.mjs SERVER_URL TOKEN; the package is looked up below HOOKLOG_NODE_MODULES.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.HOOKLOG_NODE_MODULES}/`);
const { EventSource } = require("eventsource");
const manifest = `${process.env.HOOKLOG_NODE_MODULES}/node_modules/eventsource/package.json`;
const [SERVER, TOKEN] = process.argv.slice(2);
const authorization = `Bearer ${TOKEN}`;

const create = async (path, body) => {
  const headers = { authorization, "content-type": "application/json" };
  const answer = await fetch(`${SERVER}/api/v1/app${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  assert(answer.ok, `${answer.status}`);
  return (await answer.json()).id;
};
const publish = async (count) => {
  const made = [];
  for (let n = 0; n < count; n++) made.push(await create("/followed/msg", { eventType: "x", payload: { n } }));
  return made;
};

console.log("eventsource", JSON.parse(readFileSync(manifest, "utf8")).version);
await create("", { name: "Followed", uid: "followed" });
const earlier = await publish(3);
const asked = [];
let cut = () => assert.fail("nothing to cut");
const source = new EventSource(`${SERVER}/api/v1/app/followed/stream?starting_position=earliest`, {
  fetch: async (url, init) => {
    asked.push(new Headers(init.headers).get("last-event-id"));
    const answer = await fetch(url, { ...init, headers: { ...init.headers, authorization } });
    const reader = answer.body.getReader();
    const body = new ReadableStream({
      start: (controller) => {
        cut = () => {
          controller.error(new Error("cut"));
          return reader.cancel();
        };
      },
      pull: async (controller) => {
        const { value, done } = await reader.read();
        if (!done) controller.enqueue(value);
      },
    });
    return new Response(body, answer);
  },
});
const found = [];
const expect = (count) =>
  new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`${found.length} of ${count} events`)), 20_000);
    const look = () => {
      if (found.length < count) return;
      clearTimeout(late);
      source.removeEventListener("message", look);
      resolve();
    };
    source.addEventListener("message", look);
    look();
  });
source.addEventListener("message", ({ lastEventId, data }) => {
  assert.equal(JSON.parse(data).id, lastEventId);
  found.push(lastEventId);
});
await expect(3);
const broken = new Promise((resolve) => source.addEventListener("error", resolve, { once: true }));
await cut();
await broken;
const meanwhile = await publish(3);
await expect(6);
assert.deepEqual(found, [...earlier, ...meanwhile]);
assert.deepEqual(asked, [null, earlier.at(-1)]);
source.close();
console.log("all steps passed");
