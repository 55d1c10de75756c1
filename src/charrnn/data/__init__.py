"""From files and strings to windows of ids."""
