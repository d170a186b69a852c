"""The models: networks and test functions that return named loss components, unweighted."""
