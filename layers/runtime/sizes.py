"""What each function weighs on Lambda, code and layers together: `python3 sizes.py .aws-sam/build`.

Lambda refuses a function that has more than 250 MB unzipped with all its layers, and only when it is deployed.
"""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

from cfnlint.decode import cfn_yaml

LAMBDA_LIMIT_MB = (
    250  # Lambda developer guide, "Lambda quotas": deployment package, unzipped, layers included
)

# Our own limits (MB, 10^6 bytes): every MB is read from disk in a cold start.
LIMITS_MB = {"PredictFunction": 150, "BatchFunction": 240, "ChunkFunction": 240}


class Weight(NamedTuple):
    """One function's unzipped sizes in MB: its own code, and each layer by its logical id."""

    function: str
    code_mb: float
    layers_mb: dict[str, float]

    @property
    def total_mb(self) -> float:
        return self.code_mb + sum(self.layers_mb.values())

    @property
    def limit_mb(self) -> float:
        return LIMITS_MB.get(self.function, LAMBDA_LIMIT_MB)

    def __str__(self) -> str:
        parts = " + ".join(f"{name} {size:.1f}" for name, size in self.layers_mb.items())
        return f"{self.function:<18}{self.total_mb:7.1f} of {self.limit_mb} MB   ({parts})"


def weigh(build: Path) -> list[Weight]:
    """Every function of the template that `sam build` wrote into `build`."""
    template = load_template(build / "template.yaml")
    functions = {
        name: resource["Properties"]
        for name, resource in template["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    }
    common = template.get("Globals", {}).get("Function", {}).get("Layers", [])
    return [
        Weight(
            name,
            size_mb(build / name),
            {ref["Ref"]: size_mb(build / ref["Ref"]) for ref in [*common, *own.get("Layers", [])]},
        )
        for name, own in functions.items()
    ]


def load_template(path: Path) -> dict[str, Any]:
    """A template with its short forms written out: `{"Ref": ...}`, `{"Fn::GetAtt": [...]}`, `{"Fn::Sub": ...}`."""
    return json.loads(json.dumps(cfn_yaml.load(str(path))))  # type: ignore[no-any-return]


def size_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def main(build: Path) -> None:
    """Print a line for each function.

    Raises:
        SystemExit: naming those over their limit.
    """
    weights = weigh(build)
    print("unzipped, with layers\n" + "\n".join(f"  {weight}" for weight in weights))
    if too_heavy := [weight.function for weight in weights if weight.total_mb > weight.limit_mb]:
        sys.exit(f"over their limit: {', '.join(too_heavy)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
