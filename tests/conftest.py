"""Fixtures shared by all tests: an in-memory store, a service over it, and hypothesis profiles."""

import logging
import os
import signal

import pytest
from hypothesis import HealthCheck, settings
from obstore.store import MemoryStore
from tensorlet import telemetry
from tensorlet.protocols.json_body import open_fast_lane
from tensorlet.registry.registry import Registry
from tensorlet.registry.store import Store
from tensorlet.serving.service import ModelService
from tensorlet.settings import Settings

# No deadlines: the machine is shared, and speed has its own place in benchmarks/.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "print_blob": True}
settings.register_profile("fast", max_examples=25, **_COMMON)
settings.register_profile("default", max_examples=200, **_COMMON)
settings.register_profile("ci", max_examples=2000, **_COMMON)
settings.register_profile("slow", max_examples=100_000, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "default"))

# A shell that puts pytest into the background has SIGINT ignored, in pytest and in whatever it starts; processes
# that the tests interrupt are to be as they are in a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)

open_fast_lane()  # as from the second request on; tests of the first one close it


@pytest.fixture
def store() -> Store:
    """An empty store in memory."""
    return Store(MemoryStore(), "memory://registry")


@pytest.fixture
def service(store: Store) -> ModelService:
    """A model service over `store`, with every setting at its default but aliases never cached."""
    settings = Settings.from_environ({"TENSORLET_ALIAS_TTL_S": "0"})
    return ModelService(Registry([store]), settings)


@pytest.fixture(autouse=True)
def fresh_logger() -> None:
    """A logger keeps the stdout it was made with, which pytest replaces for each test."""
    telemetry.logger.cache_clear()
    logging.root.manager.loggerDict.pop("tensorlet", None)
