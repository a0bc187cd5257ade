"""Models of other libraries that compete with the networks."""

from streamnet.guests.guest import Guest, Inputs, as_guests

__all__ = ("Guest", "Inputs", "as_guests")
