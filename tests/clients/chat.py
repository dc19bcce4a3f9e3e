"""Asks a gateway through the official `openai` package and prints what came.

    chat.py BASE_URL CASES

CASES is a JSON array of {"route", "stream"}. On standard output: one JSON
object with what the package saw, as `chat.mjs` prints it, too.
"""

import json
import sys

import openai

MESSAGES = [{"role": "user", "content": "a question?"}]


def ours(headers):
    return {name: value for name, value in headers.items() if name.startswith("x-backstop-")}


def ask(client, case):
    seen = {"text": "", "finish": None, "headers": {}, "error": None}
    wanted = {"model": case["route"], "messages": MESSAGES}
    try:
        if case["stream"]:
            stream = client.chat.completions.create(**wanted, stream=True)
            seen["headers"] = ours(stream.response.headers)
            for chunk in stream:
                for choice in chunk.choices:
                    seen["text"] += choice.delta.content or ""
                    seen["finish"] = choice.finish_reason or seen["finish"]
        else:
            raw = client.chat.completions.with_raw_response.create(**wanted)
            seen["headers"] = ours(raw.headers)
            choice = raw.parse().choices[0]
            seen["text"] = choice.message.content
            seen["finish"] = choice.finish_reason
    except openai.APIError as error:
        if isinstance(error, openai.APIStatusError):
            seen["headers"] = ours(error.response.headers)
        seen["error"] = {
            "class": type(error).__name__,
            "status": getattr(error, "status_code", None),
            "message": str(error),
            "type": error.type,
            "param": error.param,
            "code": error.code,
        }
    return seen


def main(base_url, cases):
    # No retries of its own: every attempt is to be the gateway's.
    client = openai.OpenAI(base_url=base_url, api_key="of-the-caller", max_retries=0, timeout=30)
    seen = {
        "package": openai.__version__,
        "models": [model.id for model in client.models.list()],
        "answers": [ask(client, case) for case in json.loads(cases)],
    }
    print(json.dumps(seen))


main(*sys.argv[1:])
