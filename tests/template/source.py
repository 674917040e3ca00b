"""template.yaml as data."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from cfnlint.decode import cfn_yaml

ROOT = Path(__file__).parents[2]


@cache
def template(path: Path = ROOT / "template.yaml") -> dict[str, Any]:
    """A template with its short forms written out: `{"Ref": ...}`, `{"Fn::GetAtt": [...]}`, `{"Fn::Sub": ...}`."""
    return json.loads(json.dumps(cfn_yaml.load(str(path))))  # type: ignore[no-any-return]
