"""docs/operations.md as its sections, and the commands in them."""

import re

from tests.sam.lambda_local import ROOT

PAGE = (ROOT / "docs/operations.md").read_text()


def blocks(section: str) -> list[str]:
    """The blocks of commands in the section of this title."""
    (body,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return re.findall(r"^```sh\n(.*?)^```", body, re.MULTILINE | re.DOTALL)


SECTIONS = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
RELEASE = "Releases of models"
COMMANDS = {
    section: [line for block in blocks(section) for line in block.splitlines()] for section in SECTIONS
}
