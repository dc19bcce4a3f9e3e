"""Verifies a webhook with the package `standardwebhooks`, and with the code in
the documentation of callbacks.

Arguments: the documentation's code, the secret, the headers as JSON, the body.
Prints what each of the two says of the webhook as it came and of forged ones.
"""

import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

code, secret, headers, body = sys.argv[1:]
headers = json.loads(headers)
documented = {}
exec(code, documented)


def package(secret, headers, body):
    try:
        Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


def said(verify):
    other = "whsec_" + "A" * 32
    old = headers | {"webhook-timestamp": str(int(headers["webhook-timestamp"]) - 1)}
    moved = headers | {"webhook-id": headers["webhook-id"] + "0"}
    stale = headers | {"webhook-timestamp": "1600000000"}
    return {
        "genuine": verify(secret, headers, body.encode()),
        "forged": [
            verify(other, headers, body.encode()),
            verify(secret, headers, body.encode() + b" "),
            verify(secret, old, body.encode()),
            verify(secret, moved, body.encode()),
            verify(secret, stale, body.encode()),
        ],
    }


print(json.dumps({"package": said(package), "documented": said(documented["verify"])}))
