"""The processes of a running lvskeeper: supervisor and roles."""
