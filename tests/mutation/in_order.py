"""A pytest plugin: mutmut names the tests of a mutant in any order; in their own, fixtures of a module are made once."""


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: (str(item.path), item.location[1], item.nodeid))
