"""All that touches Linux: generic netlink, IPVS, nftables, addresses, sysctls, modules."""
