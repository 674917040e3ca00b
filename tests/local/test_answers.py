"""Quick requests are answered on the event loop, slow ones on threads."""

import asyncio
from threading import current_thread, main_thread

from tensorlet.http.app import App
from tensorlet.http.message import Request, Response
from tensorlet.local import answers
from tensorlet.local.answers import Answers


async def answered(answers, request):
    response = answers.answer(request)
    return response if isinstance(response, Response) else await response


def test_slow_requests_leave_the_event_loop_and_quick_ones_stay(service, monkeypatch):
    """The first request of a kind may load a model; what the last two took decides about the next."""
    on_loop, clock, seconds = [], [0.0], iter([1.0, 0.001, 1.0, 1.0, 0.001, 0.001, 0.001])
    ours = Answers(App(service))
    monkeypatch.setattr(answers, "perf_counter", lambda: clock[0])

    def handle(request):
        on_loop.append(current_thread() is main_thread())
        clock[0] += next(seconds)
        return Response(200, {}, b"")

    ours._handle = handle
    for _ in range(6):
        asyncio.run(answered(ours, Request("GET", "/v2", {})))
    asyncio.run(answered(ours, Request("GET", "/v2", {}, b"another kind")))

    assert on_loop == [False, False, True, True, False, True, False]


def test_refused_requests_are_not_remembered(service):
    ours = Answers(App(service))
    for number in range(10):
        response = asyncio.run(answered(ours, Request("GET", f"/v2/models/absent-{number}", {})))
        assert response.status == 404

    assert ours._seconds == {}
