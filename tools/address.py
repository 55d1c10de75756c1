"""Give the repository's address to a checkout that is released from: python tools/address.py https://HOST/OWNER/NAME.

A package index shows README.md away from the files that it links to. The address is that of whoever releases, so it is known then only:
the workflow that makes the source distribution calls this first. Links become absolute, pyproject.toml gets its urls.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "Homepage": "",
    "Documentation": "/tree/HEAD/docs",
    "Changelog": "/blob/HEAD/CHANGELOG.md",
    "Issues": "/issues",
}


def absolute(readme: str, address: str) -> str:
    """Return the text with links to files and pictures made absolute."""
    readme = re.sub(r'(!\[[^\]]*\]\(|<img src=")(?!https?:)', rf"\g<1>{address}/raw/HEAD/", readme)
    return re.sub(r"(?<!!)(\[[^\]]*\]\()(?!https?:|#)", rf"\g<1>{address}/blob/HEAD/", readme)


def with_urls(project: str, address: str) -> str:
    """Return the text of pyproject.toml with the project's urls."""
    urls = "".join(f'{name} = "{address}{page}"\n' for name, page in PAGES.items())
    return project.replace(
        "[project.optional-dependencies]\n",
        f"[project.urls]\n{urls}\n[project.optional-dependencies]\n",
        1,
    )


def main() -> None:
    """Rewrite both files."""
    address = sys.argv[1].rstrip("/")
    for name, change in {"README.md": absolute, "pyproject.toml": with_urls}.items():
        path = ROOT / name
        path.write_text(
            change(path.read_text(encoding="utf-8"), address), encoding="utf-8", newline="\n"
        )


if __name__ == "__main__":
    main()
