"""The routes of the API, one module per resource; each has a tuple ``OPERATIONS``."""
