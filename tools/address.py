"""Write the repository's address into a checkout.

    python tools/address.py https://HOST/OWNER/NAME

The source doesn't contain the address, because every fork has another: the workflows that build a
release and the site know it, and call this first. It adds [project.urls] to pyproject.toml, the
only place that anything else (docs/conf.py) reads the address from, and makes the links in
README.md absolute, because a package index shows README.md without the files that it links to.
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
    """Return the README with absolute links to files and pictures."""
    readme = re.sub(r'(!\[[^\]]*\]\(|<img src=")(?!https?:)', rf"\g<1>{address}/raw/HEAD/", readme)
    return re.sub(r"(?<!!)(\[[^\]]*\]\()(?!https?:|#)", rf"\g<1>{address}/blob/HEAD/", readme)


def with_urls(project: str, address: str) -> str:
    """Return pyproject.toml with [project.urls]."""
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
