"""Texts to start with: first names, the documentation of Python, Tiny Shakespeare.

``charrnn.datasets`` is imported when it is first used.
"""

import hashlib

from .data.text import read_bytes
from .util.atomic_write import StrPath
from .util.errors import needing
from .util.page import read

_SHAKESPEARE = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
)
_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"


def names() -> list[str]:
    """Return 1,356 first names from Europe and the Americas, in lower case, sorted.

    They are part of the package.

    Examples
    --------
    >>> import charrnn
    >>> names = charrnn.datasets.names()
    >>> len(names), names[:4]
    (1356, ['aaron', 'abel', 'abigail', 'abraham'])
    """
    return read(__package__, "names.txt").split()


def python_docs() -> str:
    """Return the topics of Python's own ``help()``: half a million characters of English and code.

    Every Python has them; they differ from one version to the next.

    Examples
    --------
    >>> import charrnn
    >>> "assert" in charrnn.datasets.python_docs()
    True
    """
    from pydoc_data.topics import topics

    return "\n\n".join(topics.values())


def tiny_shakespeare(path: StrPath | None = None) -> str:
    """Return Tiny Shakespeare: 1,115,394 characters, the usual text to compare models on.

    Parameters
    ----------
    path : path, optional
        The file, if you have it. Otherwise it is downloaded once, into the cache folder of your
        account; that needs pooch (``pip install "charrnn-cython[datasets]"``).

    Raises
    ------
    ValueError
        If the file is another one: its SHA-256 is checked in both cases.
    OSError
        If it cannot be downloaded or read.
    ModuleNotFoundError
        If pooch is needed and not installed.
    """
    path = _download() if path is None else path
    data = read_bytes(path)
    found = hashlib.sha256(data).hexdigest()
    if found != _SHA256:
        expected = f"{_SHA256}; train_file reads any text"
        raise ValueError(f"{path} is not Tiny Shakespeare: its SHA-256 is {found}, not {expected}")
    return data.decode()


def _download() -> str:
    """Return where Tiny Shakespeare is, after a download if need be."""
    install = 'pip install "charrnn-cython[datasets]"; or give the path of the file'
    with needing(f"tiny_shakespeare needs pooch to download: {install}"):
        import pooch
    try:
        place = {"fname": "tinyshakespeare.txt", "path": pooch.os_cache("charrnn")}
        return str(pooch.retrieve(_SHAKESPEARE, known_hash=f"sha256:{_SHA256}", **place))
    except OSError as error:
        instead = "tiny_shakespeare(path) reads the file where you have it"
        raise OSError(f"{_SHAKESPEARE} cannot be downloaded: {error}; {instead}") from error
