"""The test suite; ``tests.support`` is what the tests share."""
