"""The commands of `charrnn`, a module each: `add_parser` describes its arguments, `run` does it."""
