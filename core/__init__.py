"""The domain: what the service and the worker share. It knows no HTTP."""
