"""The application without a server: what a client gets when the model fails, or when it is slow itself."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from xpnet.draw import app
from xpnet.draw.answers import SIDE


class Failing:
    """Answers of a model whose layer of one's own raises an error of several lines."""

    def answer(self, drawing):
        raise KeyError("first line\nsecond line")


class Slow:
    def __init__(self):
        self.release = asyncio.Event()

    def answer(self, drawing):
        asyncio.run_coroutine_threadsafe(self.release.wait(), self.loop).result()
        return {"state": "empty"}


async def respond(application, *parts):
    """Return the status and the text of the response to a drawing in parts; without parts, none arrives."""
    headers = {
        "host": "127.0.0.1:1",
        "origin": "http://127.0.0.1:1",
        "content-type": "application/octet-stream",
    }
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/drawing",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    waiting = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if waiting:
        waiting[-1]["more_body"] = False
    sent = []

    async def receive():
        if not waiting:
            await asyncio.sleep(3600)
        return waiting.pop(0)

    async def send(message):
        sent.append(message)

    await application(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent).decode()


@pytest.fixture
def executor():
    with ThreadPoolExecutor(1) as executor:
        yield executor


def test_model_that_fails_is_one_line(executor):
    application = app.make_app(Failing(), 1, executor)
    status, text = asyncio.run(respond(application, bytes(1000), bytes(SIDE * SIDE - 1000)))
    assert status == 500
    assert text == "the model cannot be used on this drawing: KeyError: 'first line\\nsecond line'\n"


def test_drawing_that_does_not_arrive_is_given_up(executor, monkeypatch):
    monkeypatch.setattr(app, "_SECONDS", 0.01)
    application = app.make_app(Failing(), 1, executor)
    assert asyncio.run(respond(application)) == (408, "the drawing did not arrive within 0.01 seconds\n")


def test_only_a_few_drawings_wait_for_an_answer(executor):
    async def all_at_once():
        answers = Slow()
        answers.loop = asyncio.get_running_loop()
        application = app.make_app(answers, 1, executor)
        waiting = [asyncio.create_task(respond(application, bytes(SIDE * SIDE))) for _ in range(10)]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        answers.release.set()
        return [task.result() for task in done], [(await task)[0] for task in waiting]

    refused, statuses = asyncio.run(all_at_once())
    assert refused[0] == (503, "8 drawings are waiting for an answer; try again later\n")
    assert sorted(statuses) == [200] * 8 + [503] * 2
