"""Networks and test functions. They return named loss components without weights."""
