"""The bill of materials of a layer: valid, complete, and the same for the same packages."""

import json
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

RUNTIME = Path(__file__).parents[2] / "layers/runtime"
sys.path.insert(0, str(RUNTIME))

import sbom  # noqa: E402  # a script beside its requirements, not a package


def add_package(folder: Path, name: str, *lines: str) -> None:
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    text = ["Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0", *lines]
    (info / "METADATA").write_text("\n".join(text))


@pytest.fixture
def folder(tmp_path):
    """A layer's python/ folder with the metadata of every package installed here, as pip left them."""
    for package in distributions():
        info = Path(str(package.locate_file("")), f"{package.name}-{package.version}.dist-info")
        if (info / "METADATA").is_file():
            target = tmp_path / "python" / info.name
            target.mkdir(parents=True)
            (target / "METADATA").write_bytes((info / "METADATA").read_bytes())
    return tmp_path / "python"


@pytest.mark.slow
def test_the_bill_of_real_packages_follows_the_schema_and_has_them_all(folder):
    target = sbom.write_sbom("runtime", folder)

    assert target == folder.parent / "sbom" / "runtime.cdx.json"
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(target.read_text()) is None
    components = json.loads(target.read_text())["components"]
    assert len(components) == len(list(folder.iterdir())) > 10
    assert {"numpy", "orjson"} <= {component["name"] for component in components}


@pytest.mark.parametrize(
    ("lines", "licenses"),
    [
        pytest.param(
            ["License-Expression: MIT OR Apache-2.0"], [{"expression": "MIT OR Apache-2.0"}], id="SPDX"
        ),
        pytest.param(["License: MIT"], [{"license": {"name": "MIT"}}], id="a name"),
        pytest.param(
            [
                "License: All of the text,",
                "        line by line",
                "Classifier: License :: OSI Approved :: MIT License",
            ],
            [{"license": {"name": "MIT License"}}],
            id="a text, and a classifier",
        ),
        pytest.param([f"License: {'x' * 500}"], [{"license": {"name": "x" * 100}}], id="a long name"),
        pytest.param([], None, id="none"),
    ],
)
def test_a_license_is_named_as_well_as_the_package_names_it(tmp_path, lines, licenses):
    add_package(tmp_path, "One_Package", *lines)

    [component] = sbom.bill("runtime", tmp_path)["components"]

    assert component.get("licenses") == licenses
    assert component["purl"] == "pkg:pypi/one-package@1.0"


def test_the_same_packages_give_the_same_bill_and_others_another(tmp_path):
    for name in ("a", "b"):
        add_package(tmp_path / "one", name)
    for name in ("b", "a"):
        add_package(tmp_path / "two", name)
    assert sbom.bill("runtime", tmp_path / "one") == sbom.bill("runtime", tmp_path / "two")

    add_package(tmp_path / "two", "c")

    one, two = sbom.bill("runtime", tmp_path / "one"), sbom.bill("runtime", tmp_path / "two")
    assert one["serialNumber"] != two["serialNumber"]
    assert len(one["dependencies"][0]["dependsOn"]) == 2
