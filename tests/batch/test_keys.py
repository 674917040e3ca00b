"""`<model>[@<version|alias>]/<any path>/<file>.<ext>[.gz]`"""

import pytest
from tensorlet.batch.keys import FileType, file_type, outputs, parse_model, plan_key
from tensorlet.batch.rows import UnreadableFile


@pytest.mark.parametrize(
    ("key", "model"),
    [
        ("churn/customers.csv", ("churn", None)),
        ("churn@3/customers.csv", ("churn", "3")),
        ("churn@live/2026/11/customers.csv", ("churn", "live")),
        ("churn/a@b.csv", ("churn", None)),
    ],
)
def test_the_first_folder_names_the_model_and_perhaps_its_version(key, model):
    assert parse_model(key) == model


@pytest.mark.parametrize(
    "key", ["customers.csv", "/customers.csv", "@3/customers.csv", "churn@/customers.csv"]
)
def test_a_key_outside_every_model_is_refused(key):
    with pytest.raises(UnreadableFile, match="MODEL/FILE"):
        parse_model(key)


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("m/a.csv", FileType("csv", False)),
        ("m/a.CSV.GZ", FileType("csv", True)),
        ("m/a.b.jsonl.gz", FileType("jsonl", True)),
        ("m/a.csv.err.jsonl", FileType("jsonl", False)),
        ("m/a.npy", FileType("npy", False)),
    ],
)
def test_the_extension_names_the_format(key, found):
    assert file_type(key) == found


@pytest.mark.parametrize("key", ["m/a.txt", "m/a", "m/csv", "m/a.gz", "m/a.npy.gz", "m/a.csv.zip", "m.csv/a"])
def test_another_extension_is_refused_naming_the_known_ones(key):
    with pytest.raises(UnreadableFile, match=r"\.csv, \.jsonl, \.npy, \.npz, \.parquet"):
        file_type(key)


def test_outputs_lie_beside_the_key_and_the_plan_under_the_inputs_etag():
    assert outputs("m/a.csv") == ("m/a.csv.out", "m/a.csv.err.jsonl", "m/a.csv.report.json")
    assert plan_key("m/a.csv", '"5d41"') == ".tensorlet/m/a.csv/5d41.plan.json"
