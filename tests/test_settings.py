"""Settings are read once, from the environment; a bad value names its key."""

import pytest
from tensorlet.errors import InvalidSetting
from tensorlet.settings import SETTINGS, Settings


def test_an_empty_environment_gives_the_defaults():
    settings = Settings.from_environ({})

    assert settings.max_body_bytes == 64 << 20
    assert settings.runtime == ""


def test_an_empty_value_counts_as_unset():
    assert Settings.from_environ({"TENSORLET_ALIAS_TTL_S": ""}) == Settings.from_environ({})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("TENSORLET_MAX_BODY_BYTES", "-1"),
        ("TENSORLET_MAX_BODY_BYTES", "lots"),
        ("TENSORLET_ALIAS_TTL_S", "nan"),
        ("TENSORLET_ALIAS_TTL_S", "soon"),
        ("TENSORLET_RUNTIME", "tensorrt"),
    ],
)
def test_a_bad_value_names_its_key(key, value):
    with pytest.raises(InvalidSetting, match=f"{key}: expected .*{value}"):
        Settings.from_environ({key: value})


@pytest.mark.parametrize(
    ("memory_mb", "threads"),
    [("128", 1), ("1769", 1), ("3538", 2), ("10240", 6)],
    ids=lambda value: str(value),
)
def test_threads_follow_the_memory_of_the_function(memory_mb, threads):
    assert Settings.from_environ({"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": memory_mb}).threads == threads


@pytest.mark.parametrize(
    ("environ", "mib"),
    [
        pytest.param({"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512"}, 256, id="half of the memory"),
        pytest.param({"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "10240"}, 5120, id="half of the largest"),
        pytest.param(
            {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512", "TENSORLET_MODEL_CACHE_BYTES": str(400 << 20)},
            400,
            id="what was set",
        ),
    ],
)
def test_models_take_half_of_the_memory_unless_told_otherwise(environ, mib):
    assert Settings.from_environ(environ).model_cache_bytes == mib << 20


def test_the_table_and_the_fields_are_the_same():
    assert tuple(SETTINGS) == Settings._fields
