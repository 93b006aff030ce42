"""Something to install."""


def wish(whom):
    return f"a good day, {whom}"
