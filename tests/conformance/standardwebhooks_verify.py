"""Verifies recorded deliveries with PyPI `standardwebhooks` and with `Webhook` of PyPI `svix`.

Usage: standardwebhooks_verify.py FILE, a list of {headers, body (base64), secrets, strangers}: each
of `secrets` must verify the delivery, none of `strangers` may.
"""

import base64
import json
import sys

import standardwebhooks
import svix.webhooks


def refuses(library, secret, body, headers):
    try:
        library.Webhook(secret).verify(body, headers)
    except library.WebhookVerificationError:
        return True
    return False


def check(library, case):
    body = base64.b64decode(case["body"])
    headers = case["headers"]
    for secret in case["secrets"]:
        library.Webhook(secret).verify(body, headers)
        assert refuses(library, secret, body + b" ", headers), "a longer body verified"
        family = "svix" if library is svix.webhooks else "webhook"
        for name, other in [("id", "msg_other"), ("timestamp", str(int(headers[f"{family}-timestamp"]) + 1))]:
            changed = {**headers, f"{family}-{name}": other}
            assert refuses(library, secret, body, changed), f"another {name} verified"
    for secret in case["strangers"]:
        assert refuses(library, secret, body, headers), "a stranger's secret verified"


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        cases = json.load(file)
    for case in cases:
        for library in (standardwebhooks, svix.webhooks):
            check(library, case)
    print(f"verified {len(cases)} deliveries")


main()
