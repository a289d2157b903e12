"""PURE. IPVS types, desired table, diff, dialects, netlink codec."""
