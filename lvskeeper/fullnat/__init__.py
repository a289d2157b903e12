"""PURE. Local-address pools, and nftables rulesets that give stock kernels FULLNAT."""
