"""The dashboard: a page for browsers that reads ``/v1``, and the application that serves it."""
