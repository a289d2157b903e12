"""Laboratories of network namespaces, and the VM they run in where the host lacks ip_vs."""
