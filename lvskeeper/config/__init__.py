"""The configuration: text or YAML to directives to a checked model, spans kept all the way."""
