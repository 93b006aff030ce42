"""The error that says itself what is wrong and what to do."""


class Problem(Exception):
    """Something the caller has to know; the message is all that is shown of it."""
