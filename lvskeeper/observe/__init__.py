"""What operators see: the event catalogue and its renderings."""
