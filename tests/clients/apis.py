"""Asks routes of every kind through the official `openai` package.

    apis.py BASE_URL

On standard output: one JSON object with what the package saw, as `apis.mjs`
prints it, too.
"""

import json
import sys

import openai

TOOL = {"name": "weather", "parameters": {"type": "object", "properties": {}}}
IMAGE = "data:image/png;base64,aGk="


def chat(client):
    content = [
        {"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": IMAGE}},
    ]
    answer = client.chat.completions.create(
        model="chat",
        messages=[{"role": "user", "content": content}],
        tools=[{"type": "function", "function": TOOL}],
    )
    choice = answer.choices[0]
    return {"finish": choice.finish_reason, "tool": choice.message.tool_calls[0].function.name}


def completions(client):
    whole = client.completions.create(model="completions", prompt="a")
    stream = client.completions.create(model="completions", prompt="a", stream=True)
    return {
        "text": whole.choices[0].text,
        "streamed": "".join(chunk.choices[0].text for chunk in stream),
    }


def embeddings(client):
    answer = client.embeddings.create(model="embeddings", input=["a", "b"])
    return {"vectors": [list(item.embedding) for item in answer.data], "model": answer.model}


def responses(client):
    content = [
        {"type": "input_text", "text": "what is this?"},
        {"type": "input_image", "image_url": IMAGE, "detail": "auto"},
    ]
    wanted = {
        "model": "responses",
        "input": [{"role": "user", "content": content}],
        "tools": [{"type": "function", "strict": False, **TOOL}],
    }
    whole = client.responses.create(**wanted)
    events, text, status = [], "", None
    for event in client.responses.create(**wanted, stream=True):
        events.append(event.type)
        if event.type == "response.output_text.delta":
            text += event.delta
        if event.type == "response.completed":
            status = event.response.status
    return {
        "text": whole.output_text,
        "tool": [item.name for item in whole.output if item.type == "function_call"],
        "events": events,
        "streamed": text,
        "status": status,
    }


def broken(client):
    events = []
    code = None
    for event in client.responses.create(model="broken", input="a", stream=True):
        events.append(event.type)
        if event.type == "error":
            code = event.code
    return {"events": events, "code": code}


def main(base_url):
    client = openai.OpenAI(base_url=base_url, api_key="of-the-caller", max_retries=0, timeout=30)
    parts = [chat, completions, embeddings, responses, broken]
    print(json.dumps({part.__name__: part(client) for part in parts}))


main(*sys.argv[1:])
