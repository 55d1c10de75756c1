"""`python -m charrnn` is the `charrnn` command."""

import sys

from .cli import main

sys.exit(main())
