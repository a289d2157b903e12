"""PURE. VRRP packets, instances, sync groups."""
