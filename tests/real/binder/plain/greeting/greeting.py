"""Something to install."""


def greet(whom):
    return f"hello {whom}"
