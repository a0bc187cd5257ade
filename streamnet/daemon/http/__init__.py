"""The HTTP API: application, middleware, operations and routes."""
