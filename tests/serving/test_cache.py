"""Values are made once, kept by use, and dropped by bytes."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from tensorlet.serving.cache import ByteLRU


def test_the_least_recently_used_goes_first():
    cache = ByteLRU(budget_bytes=10)
    for key in "abc":
        cache.get(key, lambda key: (key, 4 if key != "c" else 1))
    cache.get("a", lambda _: pytest.fail("a is there"))

    cache.get("d", lambda _: ("d", 4))

    assert cache.loaded() == ["c", "a", "d"]
    assert cache.size_bytes == 9


def test_a_value_over_the_whole_budget_is_kept_alone():
    cache = ByteLRU(budget_bytes=10)
    cache.get("small", lambda _: ("small", 1))

    cache.get("huge", lambda _: ("huge", 100))

    assert cache.loaded() == ["huge"]


def test_room_is_made_before_a_value_so_that_old_and_new_do_not_meet():
    cache = ByteLRU(budget_bytes=10)
    for key in "abc":
        cache.get(key, lambda key: (key, 3))

    cache.make_room(5)

    assert cache.loaded() == ["c"]
    assert cache.size_bytes == 3


def test_room_for_a_value_over_the_whole_budget_is_all_there_is():
    cache = ByteLRU(budget_bytes=10)
    cache.get("a", lambda _: ("a", 3))

    cache.make_room(100)

    assert cache.loaded() == [] and cache.size_bytes == 0


def test_concurrent_first_requests_make_once():
    cache = ByteLRU(budget_bytes=10)
    entered, made = Event(), []

    def make(_):
        entered.wait(5)
        made.append(1)
        return "value", 1

    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(cache.get, "key", make) for _ in range(8)]
        entered.set()
        assert {future.result() for future in waiting} == {"value"}

    assert made == [1]


def test_a_failure_is_not_remembered():
    cache = ByteLRU(budget_bytes=10)

    with pytest.raises(ZeroDivisionError):
        cache.get("key", lambda _: 1 // 0)

    assert cache.get("key", lambda _: ("value", 1)) == "value"
