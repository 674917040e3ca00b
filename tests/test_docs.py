"""What the documents say is what the code says."""

from pathlib import Path

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


if __name__ == "__main__":
    (ROOT / "docs/settings.md").write_text(settings_page())
