"""Random load with faults for as long as one likes: ``python -m tests.soak``. No part of the tests."""
