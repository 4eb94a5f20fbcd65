"""Full-size measurements, apart from the test suite: `make bench`, or `python -m benchmarks NAME...`."""
