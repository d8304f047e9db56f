"""What this package and its extras need, and how to say what installs it."""

from __future__ import annotations

import importlib.metadata
import re

INSTALL_AGAIN = (
    "install deeploc-tf again from where it came (in its folder: pip install --force-reinstall "
    "--no-deps .)"
)
"""What mends an installation over which another package was installed."""

_DISTRIBUTION = "deeploc-tf"
_OF_EXTRA = re.compile(r"""^(?P<package>.+?)\s*;.*\bextra\s*==\s*['"](?P<extra>[^'"]+)['"]""")
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def extras() -> dict[str, list[str]]:
    """Requirements of each extra, such as `{"anndata": ["anndata>=0.11"]}`.

    They are those of the installed package, and none of one that is used from its folder alone.
    """
    found: dict[str, list[str]] = {}
    for requirement in _requirements():
        if match := _OF_EXTRA.match(requirement):
            found.setdefault(match["extra"], []).append(match["package"])
    return found


def needed(*packages: str) -> list[str]:
    """The requirements of this package itself that name these, such as `["keras<4,>=2.15"]`."""
    ours = [requirement for requirement in _requirements() if ";" not in requirement]
    return [r for r in ours if _name(r) in packages] or list(packages)


def _requirements() -> list[str]:
    try:
        return importlib.metadata.requires(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return []


def missing(requirements: list[str]) -> list[str]:
    """Those of some requirements whose packages are not installed, of any version."""
    return [each for each in requirements if installed_version(each) is None]


def installed_version(requirement: str) -> str | None:
    """The version of the package that a requirement names, None where there is none."""
    try:
        return importlib.metadata.version(_name(requirement))
    except importlib.metadata.PackageNotFoundError:
        return None


def _name(requirement: str) -> str:
    match = _NAME.match(requirement)
    return match[0] if match else ""


def install(extra: str) -> str:
    """The command that installs what an extra adds, such as `pip install 'anndata>=0.11'`.

    It names the packages themselves, so that it works wherever this package came from. Of one that
    is there and has to get more parts, it names the version that is there.
    """
    packages = extras().get(extra)
    if packages is None:
        return f"install {_DISTRIBUTION} with its extra {extra!r}"
    named = []
    for package in packages:
        version = installed_version(package)
        named.append(f"{package}=={version}" if package.endswith("]") and version else package)
    return pip_install(named)


def pip_install(requirements: list[str]) -> str:
    """The command that installs these, as a shell reads it."""
    return f"pip install {' '.join(repr(requirement) for requirement in requirements)}"
