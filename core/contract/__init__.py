"""The words that service and worker share. Nothing here imports torch, redis or fastapi."""
