"""What the documents say is what the code says."""

import re
from pathlib import Path

import pytest
from tensorlet.publish.sources import SOURCES, SUFFIXES
from tensorlet.settings import SETTINGS

ROOT = Path(__file__).parents[1]


def settings_page() -> str:
    rows = [
        f"| `{setting.key}` | {f'`{setting.default}`' if setting.default else ''} | {setting.meaning} |"
        for setting in SETTINGS.values()
    ]
    return "\n".join(
        [
            "# Settings",
            "",
            "Environment variables of the functions, of `tensorlet serve` and of `tensorlet batch`. An empty value"
            " counts as unset; a value that cannot be read stops the function at its start and names the key.",
            "",
            "| variable | default | meaning |",
            "|---|---|---|",
            *rows,
            "",
            "Object storage also honours `AWS_ENDPOINT_URL_S3`, then `AWS_ENDPOINT_URL` (http, path style),"
            " `AWS_REGION`, and the usual AWS credentials.",
            "",
        ]
    )


def test_every_setting_is_documented():
    """To rewrite the page: python -m tests.test_docs"""
    assert (ROOT / "docs/settings.md").read_text() == settings_page()


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")], ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page):
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())

    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_source_format_is_described():
    page = (ROOT / "docs/models.md").read_text()

    for source in SOURCES.values():
        assert f"{source.tolerance:.0e}".replace("e-0", "e-") in page
    for suffix in SUFFIXES:
        assert f"`{suffix}`" in page


if __name__ == "__main__":
    (ROOT / "docs/settings.md").write_text(settings_page())
