"""A pytest plugin: mutmut names the tests of a mutant in any order; in their own, fixtures of a module are made once."""

from mutmut.configuration import config

config()  # read before a test changes the working directory


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: (str(item.path), item.location[1], item.nodeid))
