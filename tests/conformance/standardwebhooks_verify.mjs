// Verifies recorded deliveries with npm `standardwebhooks`; see standardwebhooks_verify.py.
// The package is looked up below the directory that HOOKLOG_NODE_MODULES names.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.HOOKLOG_NODE_MODULES}/`);
const { Webhook, WebhookVerificationError } = require("standardwebhooks");

const refuses = (secret, body, headers, what) =>
  assert.throws(() => new Webhook(secret).verify(body, headers), WebhookVerificationError, what);

const cases = JSON.parse(readFileSync(process.argv[2], "utf8"));
for (const { headers, body, secrets, strangers } of cases) {
  const bytes = Buffer.from(body, "base64");
  for (const secret of secrets) {
    new Webhook(secret).verify(bytes, headers);
    refuses(secret, Buffer.concat([bytes, Buffer.from(" ")]), headers, "a longer body verified");
    const later = String(Number(headers["webhook-timestamp"]) + 1);
    refuses(secret, bytes, { ...headers, "webhook-timestamp": later }, "another timestamp verified");
    refuses(secret, bytes, { ...headers, "webhook-id": "msg_other" }, "another id verified");
  }
  for (const secret of strangers) {
    refuses(secret, bytes, headers, "a stranger's secret verified");
  }
}
console.log(`verified ${cases.length} deliveries`);
