"""The former place of `charrnn.trace.properties`."""

from .trace.properties import *  # noqa: F403
