"""PURE. Checker state, quorum, probe schedule."""
