"""A cluster on one machine: for the demo and the tests."""
