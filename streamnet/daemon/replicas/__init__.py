"""Read replicas: models that another process publishes, followed and served without state."""
