"""What is in a layer, for whoever must know: its bill of materials, made from what pip installed.

It lies in the layer itself, /opt/sbom/LAYER.cdx.json on Lambda. The same packages give the same bytes.

Source: CycloneDX 1.6 JSON reference (ECMA-424); package URL specification, type `pypi`.
"""

import json
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

SPECIFICATION = "1.6"
LONGEST_NAME = 100  # of a license: some packages write all of its text where the name goes


def write_sbom(layer: str, folder: Path) -> Path:
    """Write the bill of the packages in a layer's python/ `folder` beside it; returns the file."""
    target = folder.parent / "sbom" / f"{layer}.cdx.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(bill(layer, folder), indent=2) + "\n")
    return target


def bill(layer: str, folder: Path) -> dict[str, Any]:
    """The bill as a CycloneDX document; its serial number is that of its packages."""
    components = sorted(components_in(folder), key=lambda component: component["purl"])
    contents = "\n".join([layer, *(component["purl"] for component in components)])
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPECIFICATION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATION,
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, contents)}",
        "version": 1,
        "metadata": {
            "component": {"type": "application", "bom-ref": layer, "name": f"tensorlet layer {layer}"}
        },
        "components": components,
        "dependencies": [{"ref": layer, "dependsOn": [component["bom-ref"] for component in components]}],
    }


def components_in(folder: Path) -> Iterator[dict[str, Any]]:
    """Each package whose metadata lie in `folder`."""
    for package in distributions(path=[str(folder)]):
        name, purl = package.metadata["Name"], purl_of(package)
        component = {
            "type": "library",
            "bom-ref": purl,
            "name": name,
            "version": package.version,
            "purl": purl,
        }
        yield component | ({"licenses": [found]} if (found := license_of(package)) else {})


def purl_of(package: Distribution) -> str:
    name = package.metadata["Name"].lower().replace("_", "-")
    return f"pkg:pypi/{name}@{package.version}"


def license_of(package: Distribution) -> dict[str, Any] | None:
    """The SPDX expression where there is one (core metadata 2.4), else the name that the package gives."""
    if expression := package.metadata.get("License-Expression"):
        return {"expression": expression}
    named = [
        classifier.rpartition(" :: ")[2]
        for classifier in package.metadata.get_all("Classifier") or []
        if classifier.startswith("License :: OSI Approved ::")
    ]
    name = (package.metadata.get("License") or "").strip().partition("\n")[0]
    name = (named or [name])[0]
    return {"license": {"name": name[:LONGEST_NAME]}} if name else None
